"""Driving flows in an event loop: performing each step that a flow yields."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from . import _exchange
from ._errors import ConfigurationError
from ._responses import MAX_BYTES
from ._settings import Settings
from ._snapshots import TaskSnapshot
from ._steps import Download, Flow, Notify, Send, Sleep, Step, T, Write

Notifier = Callable[[TaskSnapshot], object]


class AsyncDriver:
    """Performs the steps of a client's flows."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self.http = http
        self._loop: object = None

    async def run(self, flow: Flow[T], notify: Notifier = lambda _: None) -> T:
        """Run a flow to its end; return its result, or raise its error.

        `notify` is called with each snapshot of a wait.
        """

        async def perform(step: Step) -> object:
            match step:
                case Send():
                    return self.settings.read(await self._send(step))
                case Sleep(seconds):
                    await self.settings.clock.sleep_async(seconds)
                case Notify(snapshot):
                    pending = notify(snapshot)
                    if inspect.isawaitable(pending):
                        await pending
                case _:
                    return await perform_public(step)
            return None

        return await run(flow, perform)

    async def _send(self, step: Send) -> _exchange.Outcome:
        self.settings.check_usable(is_closed=self.http.is_closed)
        self._check_loop()
        request = self.http.build_request(**self.settings.arguments(step.request))
        return await _exchange.exchange_async(
            self.http,
            request,
            auth=self.settings.auth,
            limit=MAX_BYTES,
            timeout=self.settings.exchange_timeout if step.timeout is None else step.timeout,
        )

    def _check_loop(self) -> None:
        import asyncio  # 10 ms that a synchronous program saves

        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise ConfigurationError(
                "this client belongs to another event loop: create one AsyncNanoBanana in each "
                "asyncio.run"
            )
        self._loop = loop


async def perform_public(step: Download | Write) -> object:
    """Perform a step that needs no client: a download, or the write of a file."""
    import asyncio  # 10 ms that a synchronous program saves

    if isinstance(step, Download):
        return await _exchange.download_async(step)
    return await asyncio.to_thread(
        step.destination.write, step.image, step.task_id, overwrite=step.overwrite
    )


async def run(flow: Flow[T], perform: Callable[[Any], Awaitable[object]] = perform_public) -> T:
    """Run a flow to its end with `perform` for each step; return its result, or raise its error."""
    try:
        step = next(flow)
        while True:
            try:
                outcome = await perform(step)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result
