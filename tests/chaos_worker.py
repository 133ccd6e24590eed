"""A process that finishes the rows of a batch, and may be killed at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path

import httpx
from attrs import frozen
from mountsea_banana import AsyncNanoBanana
from mountsea_banana.ledger import Entry, InDoubt, Ledger, _flows

KEY = "test-token"
CONCURRENCY = 4
"""Rows in flight in each process."""
TIMEOUT = httpx.Timeout(1.0)
CLAIM_SECONDS = 5.0
"""How long a claim lasts, also that of a process that was killed: the four phases, and a second."""
PNG = b"\x89PNG\r\n\x1a\n"


@frozen
class Batch:
    """The rows of a run, and where everything is."""

    url: str
    location: str
    folder: Path
    rows: int

    @property
    def keys(self) -> list[str]:
        return [f"row-{number}" for number in range(self.rows)]

    def picture(self, key: str) -> Path:
        return self.folder / f"{key}.png"

    def is_complete(self, key: str) -> bool:
        """Return whether a row has its picture."""
        with contextlib.suppress(FileNotFoundError):
            return self.picture(key).read_bytes().startswith(PNG)
        return False


def work(batch: Batch, journal: Path) -> None:
    """Finish the rows that are left, in a process that may be killed."""
    _flows.SLACK = 1.0
    asyncio.run(_work(batch, journal))


async def _work(batch: Batch, journal: Path) -> None:
    in_flight = asyncio.Semaphore(CONCURRENCY)
    log = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Ledger(batch.location) as ledger:
        entries = {entry.key: entry for entry in ledger.entries()}
        async with AsyncNanoBanana(
            KEY, base_url=batch.url, timeout=TIMEOUT, max_retries=0
        ) as banana:

            async def run(key: str) -> None:
                async with in_flight:
                    os.write(log, f"begin {key}\n".encode())
                    with contextlib.suppress(InDoubt):
                        task = await ledger.once(key, banana).generate(key)
                        result = await task.wait(poll_interval=0.1)
                        await result.save(batch.picture(key))
                    os.write(log, f"end {key}\n".encode())

            left = [key for key in batch.keys if not _is_settled(batch, entries.get(key))]
            random.shuffle(left)
            await asyncio.gather(*map(run, left))
    os.close(log)


def _is_settled(batch: Batch, entry: Entry | None) -> bool:
    """Return whether a process has nothing to do for a row."""
    if entry is None:
        return False
    if entry.state == "accepted":
        return entry.file is not None and batch.is_complete(entry.key)
    return entry.state in ("claimed", "in doubt")
