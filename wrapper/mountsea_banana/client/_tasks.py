"""Synchronous tasks and their results, generated from _async_tasks.py by `make generate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from . import _downloads, _flows, _settings
from ._driver import Downloader, Driver
from ._images import Image
from ._snapshots import TaskSnapshot
from ._steps import Flow, T


@frozen
class TaskResult(TaskSnapshot):
    """A task as the server described it at one moment."""

    _downloader: Downloader | None = field(default=None, eq=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_id, self.status, self.raw)

    def read(
        self, *, max_bytes: int = _downloads.MAX_BYTES, timeout: float = _downloads.TIMEOUT
    ) -> bytes:
        """Download the first image and return its bytes.

        The request carries no credentials and follows redirects. `timeout` is in seconds, for the
        whole download. Raises DownloadError if the task has no image, the URL has expired, or the
        response is not an image or longer than `max_bytes` (64 MiB by default).
        """
        flow = self._downloading(
            max_bytes=_settings.check_max_bytes(max_bytes),
            timeout=_settings.check_timeout(timeout),
        )
        return self._run(flow).content

    def save(
        self,
        path: Path | str,
        *,
        overwrite: bool = False,
        max_bytes: int = _downloads.MAX_BYTES,
        timeout: float = _downloads.TIMEOUT,
    ) -> Path:
        """Download the first image into a file, atomically, and return the file's path.

        Pass a folder as `path` to name the file after the task; leave out the suffix to get the
        image's own. Missing folders are created. Raises DownloadError as `read` does, and also if
        the file cannot be written, or exists and `overwrite` is false. Overwriting replaces the
        file itself: its mode, or a symbolic link, is not kept.
        """
        flow = self._saving(
            path,
            overwrite=overwrite,
            max_bytes=_settings.check_max_bytes(max_bytes),
            timeout=_settings.check_timeout(timeout),
        )
        return self._run(flow)

    def _downloading(self, *, max_bytes: int, timeout: float) -> Flow[Image]:
        return _downloads.download(self, max_bytes=max_bytes, timeout=timeout)

    def _saving(
        self, path: Path | str, *, overwrite: bool, max_bytes: int, timeout: float
    ) -> Flow[Path]:
        downloading = self._downloading(max_bytes=max_bytes, timeout=timeout)
        return _downloads.save(self, path, downloading, overwrite=overwrite)

    def _run(self, flow: Flow[T]) -> T:
        if self._downloader:
            return self._downloader.run(flow)
        downloader = Downloader()
        try:
            return downloader.run(flow)
        finally:
            downloader.close()


class Task:
    """A task of the API, identified by its id."""

    def __init__(self, driver: Driver, task_id: str) -> None:
        self._driver = driver
        self._id = task_id

    @property
    def id(self) -> str:
        """The id that the submission returned: store it to resume the task later."""
        return self._id

    def fetch(self) -> TaskResult:
        """Poll the task once and return its state. Polling is free of charge.

        A failed poll is retried up to `max_retries` times. Raises APIConnectionError,
        APIStatusError or UnexpectedResponse.
        """
        return self._result(self._driver.run(self._fetching()))

    def wait(
        self,
        *,
        timeout: float = 600,
        poll_interval: float | None = None,
        on_update: Callable[[TaskResult], object] | None = None,
    ) -> TaskResult:
        """Poll the task until it is final, and return the result.

        `timeout` is in seconds, and covers both polls and pauses. `poll_interval` is in seconds, at
        least 0.1; by default, polls are 3 to 10 seconds apart, as the vendor advises. `on_update`
        is called with the result of every poll, the final one included. Failed polls are retried
        until the deadline.

        Raises TaskFailed, WaitTimeout, UnexpectedResponse (the task is completed but has no image),
        and APIStatusError for a 4xx other than 408 and 429, or if the server asks for a pause of
        more than 60 seconds or past the deadline.
        """
        _settings.check_callback(on_update)
        flow = self._waiting(
            timeout=_settings.check_timeout(timeout),
            poll_interval=_settings.check_poll_interval(poll_interval),
        )

        def notify(snapshot: TaskSnapshot) -> object:
            return on_update and on_update(self._result(snapshot))

        return self._result(self._driver.run(flow, notify))

    def _fetching(self) -> Flow[TaskSnapshot]:
        return _flows.fetch(self._id, settings=self._driver.settings)

    def _waiting(self, *, timeout: float, poll_interval: float | None) -> Flow[TaskSnapshot]:
        return _flows.wait(
            self._id,
            timeout=timeout,
            poll_interval=poll_interval,
            clock=self._driver.settings.clock,
        )

    def _result(self, snapshot: TaskSnapshot) -> TaskResult:
        return TaskResult(snapshot.task_id, snapshot.status, snapshot.raw, self._driver.downloader)

    def __repr__(self) -> str:
        return f"Task({self._id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        _settings.reject_pickle(self)
