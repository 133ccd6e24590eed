"""The real clock."""

from __future__ import annotations

import asyncio
import time

from mountsea_banana import Clock


def test_the_clock_reads_the_time_of_the_machine() -> None:
    clock = Clock()
    assert abs(clock.monotonic() - time.monotonic()) < 60
    assert abs(clock.wall() - time.time()) < 60
    assert 0 <= clock.jitter() < 1


def test_the_clock_really_sleeps() -> None:
    clock = Clock()
    start = time.monotonic()
    clock.sleep(0.01)
    asyncio.run(clock.sleep_async(0.01))
    assert time.monotonic() - start >= 0.02
