"""Tasks and their lifecycle, and the store that holds them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from mountsea_banana._shared.clock import Clock

from ._plan import Plan

# Bounds the memory of a long-running server. The oldest tasks are dropped first.
MAX_TASKS = 5000


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@define(eq=False)
class Task:
    """A submitted task that follows its plan. Its final snapshot never changes."""

    account: str = field(repr=False)
    request: Mapping[str, Any]
    plan: Plan
    _clock: Clock
    id: str = field(factory=lambda: secrets.token_hex(16))
    created_at: str = field(factory=_now)
    trace_id: str = field(factory=lambda: secrets.token_hex(8))
    finished_at: str | None = None
    _steps: int = 0
    _start: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._start = self._clock.monotonic()

    @property
    def status(self) -> str:
        """The current status. Reading it does not advance the task."""
        return self.state()[0]

    @property
    def error_message(self) -> str:
        """The message of a task that does not complete."""
        return self.plan.error_message or f"the mock is set to end this task as {self.plan.ends_as}"

    def state(self) -> tuple[str, bool]:
        """Return the status and whether it is final. Between two calls, time may pass."""
        if self.plan.advances == "time":
            elapsed = self._clock.monotonic() - self._start
            is_started, is_final = elapsed >= self.plan.seconds / 5, elapsed >= self.plan.seconds
        else:
            is_started, is_final = self._steps > 1, self._steps >= self.plan.polls
        if is_final:
            return self.plan.ends_as, True
        return self.plan.shows or ("processing" if is_started else "pending"), False

    def advance(self) -> None:
        """Advance a task whose plan advances manually by one step. It starts at the first step."""
        self._steps = max(self._steps, 1) + 1

    def poll(self, image_url: str, *, counts: bool = True) -> dict[str, Any]:
        """Return the task's snapshot as JSON, after counting the poll if it `counts`."""
        if counts and self.plan.advances != "hand":
            self._steps += 1
        status, is_final = self.state()
        snapshot: dict[str, Any] = {
            "taskId": self.id,
            "status": status,
            "createdAt": self.created_at,
            "traceId": self.trace_id,
        }
        if is_final:
            self.finished_at = self.finished_at or _now()
            snapshot["finishedAt"] = self.finished_at
            if status == "completed":
                snapshot["result"] = {"imageUrls": [image_url]}
            else:
                snapshot["errorMessage"] = self.error_message
                snapshot["errorCode"] = self.plan.error_code
        return snapshot


class TaskStore:
    """The tasks of a server, oldest first."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Add a task, and drop the oldest one if there are more than `MAX_TASKS`."""
        self._tasks[task.id] = task
        if len(self._tasks) > MAX_TASKS:
            del self._tasks[next(iter(self._tasks))]

    def find(self, task_id: str) -> Task | None:
        """Return the task with this id from any account, or None if it does not exist."""
        return self._tasks.get(task_id)

    def all(self) -> list[Task]:
        """Return all tasks, oldest first."""
        return list(self._tasks.values())
