"""The life of a task, and where tasks are kept."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from mountsea_banana._shared.clock import Clock

from ._plan import Plan

# A development server's memory is bounded: the oldest tasks go first.
MAX_TASKS = 5000


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@define
class Task:
    """A submitted task, which lives as its plan says; a final answer stays as it is."""

    account: str = field(repr=False)
    request: Mapping[str, Any]
    plan: Plan
    _clock: Clock
    id: str = field(factory=lambda: secrets.token_urlsafe(16))
    created_at: str = field(factory=_now)
    trace_id: str = field(factory=lambda: secrets.token_hex(8))
    finished_at: str | None = None
    _steps: int = 0
    _start: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._start = self._clock.monotonic()

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        if self.plan.advances == "time":
            return self._clock.monotonic() - self._start >= self.plan.seconds
        return self._steps >= self.plan.polls

    @property
    def status(self) -> str:
        """Where the task stands, as the last poll saw it."""
        return self._status(is_final=self.is_final)

    def _status(self, *, is_final: bool) -> str:
        if is_final:
            return self.plan.ends_as
        return self.plan.shows or ("pending" if self._steps <= 1 else "processing")

    def advance(self) -> None:
        """Move a task that advances by hand one step on; it starts at the first."""
        self._steps = max(self._steps, 1) + 1

    def look(self, picture_url: str) -> dict[str, Any]:
        """Return the answer to the next poll of the task."""
        if self.plan.advances != "hand":
            self._steps += 1
        # Asked once: time may end the task between two questions.
        is_final = self.is_final
        answer: dict[str, Any] = {
            "taskId": self.id,
            "status": self._status(is_final=is_final),
            "createdAt": self.created_at,
            "traceId": self.trace_id,
        }
        if is_final:
            self.finished_at = self.finished_at or _now()
            answer["finishedAt"] = self.finished_at
            if self.plan.ends_as == "completed":
                answer["result"] = {"imageUrls": [picture_url]}
            else:
                answer["errorMessage"] = f"the mock was told to end this as {self.plan.ends_as}"
                answer["errorCode"] = 1000
        return answer


class TaskStore:
    """All tasks of a server, oldest first."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Keep a task, and drop the oldest beyond the limit."""
        self._tasks[task.id] = task
        if len(self._tasks) > MAX_TASKS:
            del self._tasks[next(iter(self._tasks))]

    def find(self, task_id: str) -> Task | None:
        """Return the task of that id, whoever's it is."""
        return self._tasks.get(task_id)

    def all(self) -> list[Task]:
        """Return every task, oldest first."""
        return list(self._tasks.values())
