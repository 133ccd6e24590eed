"""The life of a task, and where tasks are kept."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

# A development server's memory is bounded: the oldest tasks go first.
MAX_TASKS = 5000
LIFE = ("pending", "processing", "completed")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@define
class Task:
    """A submitted task. Each look moves it one step on; a final answer stays as it is."""

    account: str = field(repr=False)
    request: Mapping[str, Any]
    id: str = field(factory=lambda: secrets.token_urlsafe(16))
    created_at: str = field(factory=_now)
    trace_id: str = field(factory=lambda: secrets.token_hex(8))
    finished_at: str | None = None
    _looks: int = 0

    @property
    def status(self) -> str:
        """Where the task stands, as the last look saw it."""
        return LIFE[max(self._looks - 1, 0)]

    def look(self, picture_url: str) -> dict[str, Any]:
        """Return the answer to the next look at the task."""
        self._looks = min(self._looks + 1, len(LIFE))
        answer: dict[str, Any] = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created_at,
            "traceId": self.trace_id,
        }
        if self.status == LIFE[-1]:
            self.finished_at = self.finished_at or _now()
            answer |= {"finishedAt": self.finished_at, "result": {"imageUrls": [picture_url]}}
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
