"""Time and chance in one place, so that programs' tests can run without waiting."""

from __future__ import annotations

import random
import time


class Clock:
    """What the client knows of time: seconds, all of them."""

    def monotonic(self) -> float:
        """Return the seconds of a clock that never goes back; deadlines are counted in them."""
        return time.monotonic()

    def wall(self) -> float:
        """Return the seconds since the epoch; a date in Retry-After is compared with them."""
        return time.time()

    def jitter(self) -> float:
        """Return a number from 0 up to 1, to spread clients that would otherwise keep step."""
        return random.random()  # noqa: S311

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Let other tasks of the event loop run for `seconds`."""
        import asyncio  # a synchronous program does without its 10 ms

        await asyncio.sleep(seconds)


class InstantClock(Clock):
    """A clock that a sleep moves on at once, and that remembers the sleeps."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        """Return the seconds since some start."""
        return self.now

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return self.now

    def jitter(self) -> float:
        """Return always the same."""
        return 0.5

    def sleep(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self.sleeps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Move on by `seconds`, and let other tasks of the event loop run."""
        import asyncio

        self.sleeps.append(seconds)
        wake = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, wake)  # those who sleep side by side wake together
