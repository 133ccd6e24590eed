"""Time and randomness, replaceable so that tests don't have to wait."""

from __future__ import annotations

import random
import time

START = 1_700_000_000.0
"""The initial time of an InstantClock, in seconds since the epoch."""


class Clock:
    """The time and randomness that a client uses. All times are in seconds."""

    def monotonic(self) -> float:
        """Return the time of a clock that never goes back, for deadlines."""
        return time.monotonic()

    def wall(self) -> float:
        """Return the time since the epoch, to compare with a date in Retry-After."""
        return time.time()

    def jitter(self) -> float:
        """Return a random number, at least 0 and less than 1, to spread retries and polls."""
        return random.random()  # noqa: S311

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Suspend for `seconds` while other tasks of the event loop run."""
        import asyncio  # 10 ms that a synchronous program saves

        await asyncio.sleep(seconds)


class InstantClock(Clock):
    """A clock for tests: a sleep returns at once, advances `now`, and is recorded in `sleeps`."""

    def __init__(self) -> None:
        self.now = START
        """The time, in seconds since the epoch."""
        self.sleeps: list[float] = []
        """The seconds of every sleep so far."""

    def reset(self) -> None:
        """Return to the initial time, and forget the sleeps."""
        self.now = START
        self.sleeps = []

    def monotonic(self) -> float:
        """Return `now`."""
        return self.now

    def wall(self) -> float:
        """Return `now`."""
        return self.now

    def jitter(self) -> float:
        """Return 0.5."""
        return 0.5

    def sleep(self, seconds: float) -> None:
        """Advance `now` by `seconds`."""
        self.sleeps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Advance `now` by `seconds`, and let other tasks of the event loop run."""
        import asyncio

        self.sleeps.append(seconds)
        wake = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, wake)  # concurrent sleepers wake together
