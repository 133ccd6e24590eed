"""Driving flows synchronously: performing each step that a flow yields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from . import _exchange
from ._responses import MAX_BYTES
from ._settings import Settings
from ._snapshots import TaskSnapshot
from ._steps import Download, Flow, Notify, Send, Sleep, Step, T, Write

Notifier = Callable[[TaskSnapshot], object]


class Driver:
    """Performs the steps of a client's flows."""

    def __init__(self, settings: Settings, http: httpx.Client) -> None:
        self.settings = settings
        self.http = http

    def run(self, flow: Flow[T], notify: Notifier = lambda _: None) -> T:
        """Run a flow to its end; return its result, or raise its error.

        `notify` is called with each snapshot of a wait.
        """

        def perform(step: Step) -> object:
            match step:
                case Send():
                    return self.settings.read(self._send(step))
                case Sleep(seconds):
                    self.settings.clock.sleep(seconds)
                case Notify(snapshot):
                    notify(snapshot)
                case _:
                    return perform_public(step)
            return None

        return run(flow, perform)

    def _send(self, step: Send) -> _exchange.Outcome:
        self.settings.check_usable(is_closed=self.http.is_closed)
        request = self.http.build_request(**self.settings.arguments(step.request))
        return _exchange.exchange(
            self.http,
            request,
            auth=self.settings.auth,
            limit=MAX_BYTES,
            timeout=self.settings.exchange_timeout if step.timeout is None else step.timeout,
        )


def perform_public(step: Download | Write) -> object:
    """Perform a step that needs no client: a download, or the write of a file."""
    if isinstance(step, Download):
        return _exchange.download(step)
    return step.destination.write(step.image, step.task_id, overwrite=step.overwrite)


def run(flow: Flow[T], perform: Callable[[Any], object] = perform_public) -> T:
    """Run a flow to its end with `perform` for each step; return its result, or raise its error."""
    try:
        step = next(flow)
        while True:
            try:
                outcome = perform(step)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result
