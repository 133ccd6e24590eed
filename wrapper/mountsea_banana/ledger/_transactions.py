"""Transactions that threads share: a commit waits for the disk, so one commits for all who wait."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from mountsea_banana.client._errors import NanoBananaError

T = TypeVar("T")


class Transactions:
    """Performs operations on a database that has a single writer, such as SQLite."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._begin = begin
        self.pause = 0.0
        """Seconds before each transaction, in which other threads may join it."""
        self._waiting: deque[_Job[Any]] = deque()
        self._lock = threading.Lock()

    def perform(self, operation: Callable[[Connection], T]) -> T:
        """Perform an operation in a transaction; return its result once that is committed.

        An operation that raises an error of this package has written nothing to be undone.
        """
        job = _Job(operation)
        try:
            self._waiting.append(job)
            with self._lock:
                if not job.is_done:
                    time.sleep(self.pause)
                    self._commit(self._jobs(job))
        except BaseException:  # Ctrl-C: nobody may perform it later
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
            raise
        if job.error:
            raise job.error
        return job.results[0]

    def _jobs(self, job: _Job[Any]) -> list[_Job[Any]]:
        """Take the jobs that wait, in their order, `job` among them."""
        jobs: list[_Job[Any]] = []
        while self._waiting:
            jobs.append(self._waiting.popleft())
        if job not in jobs:  # it was in a transaction that Ctrl-C ended
            jobs.append(job)
        return jobs

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        has_begun = False
        try:
            with self._begin() as connection:
                has_begun = True
                for job in jobs:
                    job.run(connection)
        except Exception as error:
            if has_begun and len(jobs) > 1:  # nothing was written, and one is to blame
                for job in jobs:
                    self._commit([job])
                return
            for job in jobs:
                job.error = error
        for job in jobs:
            job.is_done = True


class _Job(Generic[T]):
    def __init__(self, operation: Callable[[Connection], T]) -> None:
        self.operation = operation
        self.results: list[T] = []
        self.error: Exception | None = None
        self.is_done = False

    def run(self, connection: Connection) -> None:
        self.error = None
        try:
            self.results = [self.operation(connection)]
        except NanoBananaError as error:
            self.error = error
