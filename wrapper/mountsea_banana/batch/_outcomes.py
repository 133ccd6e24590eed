"""What comes of the rows of a batch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from attrs import field, frozen

State = Literal["done", "failed", "in doubt", "running", "not started", "skipped"]
"""`done`: the image is saved. `failed`: there will be no image, or it could not be saved.
`in doubt`: the row may have been charged without a known task. `running`: its task goes on.
`skipped`: it is invalid."""


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


@frozen
class Submitted:
    """A row was submitted, and charged."""

    number: int
    key: str
    task_id: str


@frozen
class Paused:
    """The server refused a row for now: no other is submitted for some seconds."""

    seconds: float
    reason: str


Event = Outcome | Submitted | Paused


@frozen
class Report:
    """What came of a batch."""

    states: Counter[State]
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
