"""Resuming the task of a submission that a ledger holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana
from mountsea_banana.ledger import Entry, InDoubt, Ledger, LedgerError
from mountsea_banana.mock import MockServer, Plan


@pytest.fixture
def ledger(tmp_path: Path, clock: InstantClock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db", clock=clock) as ledger:
        yield ledger


def find(ledger: Ledger, key: str) -> Entry:
    entry = ledger.find(key)
    assert entry is not None
    return entry


def test_a_task_is_found_by_its_id_and_its_result_is_kept(
    ledger: Ledger, banana: NanoBanana
) -> None:
    task = ledger.once("cat", banana).generate("a cat")
    entry = find(ledger, "cat")
    assert ledger.find_task(task.id) == entry
    assert entry.status is None
    assert ledger.task(entry, banana).wait().status == "completed"
    assert find(ledger, "cat").status == "completed"
    assert ledger.find_task("another") is None


def test_an_asynchronous_client_resumes_a_task_as_well(
    ledger: Ledger, banana: NanoBanana, async_banana: AsyncNanoBanana
) -> None:
    ledger.once("cat", banana).generate("a cat")

    async def wait() -> str:
        async with async_banana:
            return (await ledger.task(find(ledger, "cat"), async_banana).wait()).status

    assert asyncio.run(wait()) == "completed"
    assert find(ledger, "cat").status == "completed"


def test_a_submission_without_a_task_cannot_be_resumed(
    ledger: Ledger, banana: NanoBanana, banana_server: MockServer, clock: InstantClock
) -> None:
    banana_server.next_task(Plan(drops=True))
    with pytest.raises(InDoubt):
        ledger.once("cat", banana).generate("a cat")
    with pytest.raises(InDoubt):
        ledger.task(find(ledger, "cat"), banana)
    clock.sleep(10_000)
    ledger.release("cat")
    with pytest.raises(LedgerError, match="the key 'cat' has no task: it is released"):
        ledger.task(find(ledger, "cat"), banana)


def test_the_newest_submissions_come_first_if_wanted(ledger: Ledger, banana: NanoBanana) -> None:
    for key in ("b", "a", "c"):
        ledger.once(key, banana).generate("a cat")
    keys = [entry.key for entry in ledger.entries()]
    assert [entry.key for entry in ledger.entries(newest_first=True)] == keys[::-1]


def test_the_location_is_the_path(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.location == str(tmp_path / "ledger.db")
