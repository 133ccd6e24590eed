"""Driving flows synchronously: performing each step that a flow yields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx

from . import _network
from ._builder import RequestBuilder
from ._errors import NanoBananaError
from ._exchange import Failure, Outcome
from ._responses import APIResponse
from ._settings import DEFAULT_TIMEOUT, Settings
from ._snapshots import TaskSnapshot
from ._steps import Call, Download, DownloadAll, Flow, Notify, Send, Sleep, Step, T

Notifier = Callable[[TaskSnapshot], object]


class Downloader:
    """Downloads from public URLs with one client, which is made when it is first needed."""

    def __init__(self, timeout: httpx.Timeout = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        self._http: httpx.Client | None = None

    def run(self, flow: Flow[T]) -> T:
        """Run a flow without API requests; return its result, or raise its error."""
        return run(flow, self.perform)

    def perform(self, step: Step) -> object:
        """Perform a download, or call a function."""
        match step:
            case Call(function):
                return function()
            case DownloadAll(downloads):
                return self._download_all(downloads)
            case _:
                assert isinstance(step, Download)  # noqa: S101
                return self._download(step)

    def _download_all(self, steps: Sequence[Download]) -> list[Outcome]:
        try:
            from concurrent.futures import ThreadPoolExecutor  # 1 ms that most programs save
        except OSError:  # too many files are open
            return [self._download(step) for step in steps]
        pool = ThreadPoolExecutor(len(steps))
        try:
            return list(pool.map(self._download, steps))
        except RuntimeError:  # the interpreter is shutting down
            return [self._download(step) for step in steps]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait

    def _download(self, step: Download) -> Outcome:
        http = self._http
        if http is None or http.is_closed:
            try:
                http = self._http = _network.make_public_client(httpx.Client, self._timeout)
            except NanoBananaError as error:
                return Failure(error, may_have_left=False)
        return _network.download(http, step)

    def close(self) -> None:
        """Close the connections; a later download opens new ones."""
        if self._http:
            self._http.close()


class Driver:
    """Performs the steps of a client's flows."""

    def __init__(self, settings: Settings, http: httpx.Client) -> None:
        self.settings = settings
        self.http = http
        self._builder = RequestBuilder(settings, http)
        self.downloader = Downloader(settings.timeout)

    def run(self, flow: Flow[T], notify: Notifier = lambda _: None) -> T:
        """Run a flow to its end; return its result, or raise its error.

        `notify` is called with each snapshot of a wait.
        """

        def perform(step: Step) -> object:
            match step:
                case Send():
                    return self._send(step)
                case Sleep(seconds):
                    return self.settings.clock.sleep(seconds)  # type: ignore[func-returns-value]
                case Notify(snapshot):
                    return notify(snapshot)
                case _:
                    return self.downloader.perform(step)

        return run(flow, perform)

    def _send(self, step: Send) -> APIResponse | Failure:
        settings = self.settings
        settings.check_usable(is_closed=self.http.is_closed)
        _network.send(
            self.http,
            self._builder.build(step.request),
            step.exchange,
            auth=settings.auth,
            redact=settings.redact,
            timeout=settings.exchange_timeout if step.timeout is None else step.timeout,
        )
        return settings.read(step.exchange.outcome)


def run(flow: Flow[T], perform: Callable[[Step], object]) -> T:
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
