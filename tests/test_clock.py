"""The real clock."""

from __future__ import annotations

import asyncio
import time

import pytest
from mountsea_banana import Clock


def test_the_clock_reads_the_time_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    clock = Clock()
    assert (clock.monotonic(), clock.wall()) == (5.0, 1_700_000_000.0)
    assert 0 <= clock.jitter() < 1


def test_the_clock_really_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[object] = []

    async def sleep(seconds: float) -> None:
        slept.append(("asyncio", seconds))

    monkeypatch.setattr(time, "sleep", lambda seconds: slept.append(("time", seconds)))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    clock = Clock()
    clock.sleep(0.5)
    asyncio.run(clock.sleep_async(2))
    assert slept == [("time", 0.5), ("asyncio", 2)]
