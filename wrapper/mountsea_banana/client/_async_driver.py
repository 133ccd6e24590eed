"""Driving flows in an event loop: performing each step that a flow yields."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import httpx

from . import _network
from ._builder import RequestBuilder
from ._errors import ConfigurationError, NanoBananaError
from ._exchange import Failure, Outcome
from ._responses import APIResponse
from ._settings import DEFAULT_TIMEOUT, Settings
from ._snapshots import TaskSnapshot
from ._steps import Call, Download, DownloadAll, Flow, Notify, Send, Sleep, Step, T

if TYPE_CHECKING:
    import asyncio

Notifier = Callable[[TaskSnapshot], object]


class AsyncDownloader:
    """Downloads from public URLs with one client, which is made when it is first needed."""

    def __init__(self, timeout: httpx.Timeout = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        self._loop: object = None
        self._http: httpx.AsyncClient | None = None

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow without API requests; return its result, or raise its error."""
        return await run(flow, self.perform)

    async def perform(self, step: Step) -> object:
        """Perform a download, or call a function."""
        import asyncio  # 10 ms that a synchronous program saves

        match step:
            case Call(function):
                return await _call(function)
            case DownloadAll(downloads):
                return await asyncio.gather(*map(self._download, downloads))
            case _:
                assert isinstance(step, Download)  # noqa: S101
                return await self._download(step)

    async def _download(self, step: Download) -> Outcome:
        loop = _running_loop()
        try:
            # Connections belong to the event loop that opened them.
            if self._http is None or self._http.is_closed or self._loop is not loop:
                self._http = _network.make_public_client(httpx.AsyncClient, self._timeout)
                self._loop = loop
        except NanoBananaError as error:
            return Failure(error, may_have_left=False)
        return await _network.download_async(self._http, step)

    async def close(self) -> None:
        """Close the connections; a later download opens new ones."""
        if self._http:
            await self._http.aclose()


class AsyncDriver:
    """Performs the steps of a client's flows."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self.http = http
        self._builder = RequestBuilder(settings, http)
        self.downloader = AsyncDownloader(settings.timeout)
        self._loop: object = None

    async def run(self, flow: Flow[T], notify: Notifier = lambda _: None) -> T:
        """Run a flow to its end; return its result, or raise its error.

        `notify` is called with each snapshot of a wait, and awaited if it returns an awaitable.
        """

        async def perform(step: Step) -> object:
            match step:
                case Send():
                    return await self._send(step)
                case Sleep(seconds):
                    return await self.settings.clock.sleep_async(seconds)  # type: ignore[func-returns-value]
                case Notify(snapshot):
                    pending = notify(snapshot)
                    return await pending if inspect.isawaitable(pending) else pending
                case _:
                    return await self.downloader.perform(step)

        return await run(flow, perform)

    async def _send(self, step: Send) -> APIResponse | Failure:
        settings = self.settings
        settings.check_usable(is_closed=self.http.is_closed)
        self._check_loop()
        await _network.send_async(
            self.http,
            self._builder.build(step.request),
            step.exchange,
            auth=settings.auth,
            redact=settings.redact,
            timeout=settings.exchange_timeout if step.timeout is None else step.timeout,
        )
        return settings.read(step.exchange.outcome)

    def _check_loop(self) -> None:
        loop = _running_loop()
        if self._loop not in (None, loop):
            raise ConfigurationError(
                "this client belongs to another event loop: create one AsyncNanoBanana in each "
                "asyncio.run"
            )
        self._loop = loop


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:  # trio, for example
        raise ConfigurationError(
            "AsyncNanoBanana works only with asyncio, and no asyncio event loop is running"
        ) from error


async def _call(function: Callable[[], object]) -> object:
    import asyncio

    # Not a task, which the end of the event loop would cancel.
    call = _running_loop().run_in_executor(None, function)
    cancelled: asyncio.CancelledError | None = None
    while not call.done():
        try:
            await asyncio.wait([call])
        except asyncio.CancelledError as error:
            # The thread goes on, and what the flow does next depends on what it did.
            cancelled = error
    if cancelled:
        call.exception()  # retrieved, so that asyncio does not log it
        raise cancelled
    return call.result()


async def run(flow: Flow[T], perform: Callable[[Step], Awaitable[object]]) -> T:
    """Run a flow to its end with `perform` for each step; return its result, or raise its error.

    Raises ConfigurationError if no asyncio event loop is running.
    """
    _running_loop()
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
