"""Asynchronous submissions through a ledger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from mountsea_banana.client._async_driver import AsyncDriver
from mountsea_banana.client._async_submitter import AsyncSubmitter
from mountsea_banana.client._async_tasks import AsyncTask, AsyncTaskResult
from mountsea_banana.client._images import Image
from mountsea_banana.client._snapshots import TaskSnapshot
from mountsea_banana.client._steps import Flow, T

from . import _flows
from ._store import Store

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto


@frozen
class AsyncRecordedResult(AsyncTaskResult):
    """A task's state. Its image is downloaded again only if the file is missing."""

    _driver: AsyncDriver | None = field(default=None, eq=False, repr=False)
    _record: _flows.Record | None = field(default=None, eq=False, repr=False)

    def _downloading(self, *, max_bytes: int, timeout: float) -> Flow[Image]:
        if self._record is None:
            return super()._downloading(max_bytes=max_bytes, timeout=timeout)
        return _flows.download(self._record, self, max_bytes=max_bytes, timeout=timeout)

    def _saving(
        self, path: Path | str, *, overwrite: bool, max_bytes: int, timeout: float
    ) -> Flow[Path]:
        if self._record is None:
            return super()._saving(path, overwrite=overwrite, max_bytes=max_bytes, timeout=timeout)
        return _flows.save(
            self._record,
            self,
            path,
            overwrite=overwrite,
            max_bytes=max_bytes,
            timeout=timeout,
        )

    async def _run(self, flow: Flow[T]) -> T:
        if self._driver is None:
            return await super()._run(flow)
        return await self._driver.run(flow)


class AsyncRecordedTask(AsyncTask):
    """A task in a ledger. Once it is final, it is not polled again."""

    def __init__(self, driver: AsyncDriver, record: _flows.Record) -> None:
        super().__init__(driver, record.task_id)
        self._record = record

    @property
    def is_new(self) -> bool:
        """Whether this call submitted the request, which was charged."""
        return self._record.is_new

    @property
    def is_final(self) -> bool:
        """Whether the ledger has the task's final state."""
        return self._record.snapshot is not None

    def _fetching(self) -> Flow[TaskSnapshot]:
        return _flows.fetch(self._record)

    def _waiting(self, *, timeout: float, poll_interval: float | None) -> Flow[TaskSnapshot]:
        return _flows.wait(self._record, timeout=timeout, poll_interval=poll_interval)

    def _result(self, snapshot: TaskSnapshot) -> AsyncRecordedResult:
        return AsyncRecordedResult(
            snapshot.task_id,
            snapshot.status,
            snapshot.raw,
            self._driver.downloader,
            self._driver,
            self._record,
        )


class AsyncOnce(AsyncSubmitter):
    """Submits the request of one key, unless the ledger has its task."""

    def __init__(
        self,
        store: Store,
        key: str,
        driver: AsyncDriver,
        *,
        retry_failed: bool,
        max_cost: int | None,
        waits: bool = True,
    ) -> None:
        self._store = store
        self._key = key
        self._driver = driver
        self._retry_failed = retry_failed
        self._max_cost = max_cost
        self._waits = waits

    async def _submit(
        self, request: NanoImageDto | Mapping[str, object], *, check_images: bool = False
    ) -> AsyncTask:
        flow = _flows.submit(
            self._store,
            self._key,
            request,
            check_images=check_images,
            retry_failed=self._retry_failed,
            max_cost=self._max_cost,
            settings=self._driver.settings,
            waits=self._waits,
        )
        return AsyncRecordedTask(self._driver, await self._driver.run(flow))
