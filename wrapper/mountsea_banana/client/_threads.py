"""Worker threads that are reused: a hand-off costs half of what a new thread does."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable

IDLE_SECONDS = 10.0
"""An idle worker ends after this time."""

# Appending and popping are atomic. A lock would not be safe in a signal handler, or after a fork.
_idle: collections.deque[_Worker] = collections.deque()


class CannotStart(RuntimeError):
    """No thread can start: there are too many, or the interpreter is shutting down."""


class _Worker(threading.Thread):
    def __init__(self) -> None:
        # A daemon, so that an abandoned exchange does not keep a program from ending.
        super().__init__(name="mountsea-banana", daemon=True)
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run(self) -> None:
        # Without a job for this long, it was interrupted before it got one, or is no longer needed.
        while job := self._next():
            job()
            del job  # it would keep the request until the next one
            _idle.append(self)

    def _next(self) -> Callable[[], None] | None:
        try:
            return self.jobs.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            with contextlib.suppress(ValueError):
                _idle.remove(self)
                return None
        with contextlib.suppress(queue.Empty):  # it may have just been taken for a job
            return self.jobs.get(timeout=IDLE_SECONDS)
        return None


def start(job: Callable[[], None]) -> None:
    """Run a job, which must not raise, in a thread. Raises CannotStart."""
    if sys.is_finalizing():  # the idle workers are frozen
        raise CannotStart("the interpreter is shutting down")
    try:
        worker = _idle.pop()
    except IndexError:
        try:
            worker = _Worker()
            worker.start()
        except RuntimeError as error:
            raise CannotStart(str(error)) from error
    worker.jobs.put(job)


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_idle.clear)
