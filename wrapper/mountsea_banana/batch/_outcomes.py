"""What comes of the rows of a batch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

from attrs import asdict, field, frozen

State = Literal["done", "running", "not started", "failed", "in doubt", "skipped"]
"""`done`: the image is saved. `running`: its task goes on. `failed`: there will be no image, or it
could not be saved. `in doubt`: the row may have been charged without a known task. `skipped`: it is
invalid."""
STATES: tuple[State, ...] = get_args(State)


@frozen
class Outcome:
    """What came of a row."""

    number: int
    """The row's line or position, from 1."""
    key: str | None
    """The row's key; None if it is invalid."""
    state: State
    task_id: str | None = None
    path: Path | None = None
    """The file of the image."""
    error: str | None = None
    """Why there is none."""
    prompt: str | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        return {
            "event": self.state,
            "number": self.number,
            "key": self.key,
            "task_id": self.task_id,
            "path": str(self.path) if self.path else None,
            "error": self.error,
        }


@frozen
class _Happened:
    def to_dict(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@frozen
class Submitted(_Happened):
    """A row was submitted, and charged."""

    number: int
    key: str
    task_id: str


@frozen
class Paused(_Happened):
    """The server refused a row for now: no other is submitted for some seconds."""

    seconds: float
    reason: str


@frozen
class Draining(_Happened):
    """Ctrl-C was pressed: no more rows are started, and these submissions are waited for."""

    submissions: int


@frozen
class Waiting(_Happened):
    """Only rows are left that another process submits, or submitted when it was killed."""

    rows: int
    seconds: float
    """How long their submissions can take at most. After that, they are in doubt."""


Event = Outcome | Submitted | Paused | Waiting | Draining


@frozen
class Report:
    """What came of a batch."""

    states: Counter[str]
    """How many rows are in each state."""
    charged: int
    """How many submissions this run made that were charged. Those in doubt are not counted."""
    is_interrupted: bool
    """Whether Ctrl-C ended it."""
    stopped: str | None
    """Why no more rows were started, if that was not because of Ctrl-C."""

    @property
    def is_complete(self) -> bool:
        """Whether every row has its picture."""
        return self.states.total() == self.states["done"]
