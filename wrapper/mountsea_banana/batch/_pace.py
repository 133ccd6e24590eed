"""How many rows may be in flight, and when the next may be submitted: decisions without I/O."""

from __future__ import annotations

import math

MAX_PAUSE = 900.0
"""Seconds; the batch ends instead of waiting longer."""
MAX_REFUSALS = 10
"""How often in a row the server may refuse, while it accepts nothing, before the batch ends."""
_BACKOFF = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)


class Pace:
    """Slows a batch down when the server refuses, and speeds it up again while it accepts.

    A refusal halves the number of rows in flight; as many acceptances as that number raise it by
    one. All rows share the pause that the server asked for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._resumes_at = 0.0
        self._refused_at = -math.inf
        self._refusals = 0

    @property
    def limit(self) -> int:
        """How many rows may be in flight."""
        return int(self._limit)

    def pause(self, now: float) -> float:
        """Return the seconds until the next row may be submitted."""
        return max(0.0, self._resumes_at - now)

    def accept(self) -> None:
        """Note that the server accepted a row."""
        self._refusals = 0
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def refuse(self, *, started: float, now: float, asked: float | None, jitter: float) -> float:
        """Note that the server refused a row for now; return the seconds of a new pause.

        `started` is when the row was submitted, `asked` the server's Retry-After. A row that was
        submitted before the last refusal tells nothing new, but may ask for a longer pause: 0.
        """
        is_new = started > self._refused_at
        if is_new:
            self._refused_at = now
            self._refusals += 1
            self._limit = max(1.0, self._limit / 2)
        if asked is None:
            asked = _BACKOFF[min(self._refusals, len(_BACKOFF)) - 1] * (0.75 + jitter / 4)
        self._resumes_at = max(self._resumes_at, now + asked)
        return asked if is_new else 0.0

    def gives_up(self, now: float) -> bool:
        """Return whether waiting any longer is of no use."""
        return self._refusals >= MAX_REFUSALS or self.pause(now) > MAX_PAUSE
