"""Processes that are killed: no picture is paid for twice, and none is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mountsea_banana import NanoBanana
from mountsea_banana.ledger import InDoubt, Ledger
from mountsea_banana.mock import MockServer

from tests import chaos
from tests.chaos_worker import Batch
from tests.ledgers import end_claims, everywhere
from tests.postgresql import new_schema


@everywhere
def test_a_process_killed_at_any_point_neither_pays_twice_nor_loses_a_task(
    location: str, banana: NanoBanana, banana_server: MockServer
) -> None:
    command = [sys.executable, "-m", "tests.crash", banana_server.url, location]
    keys = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(keys) > 20
    end_claims(location)
    outcomes = []
    with Ledger(location) as ledger:
        for key in keys:
            created = tasks_of(banana_server, key)
            assert len(created) <= 1
            entry = ledger.find(key)
            if created:
                assert entry
                assert entry.state == "in doubt" or entry.task_id == created[0]
            try:
                ledger.once(key, banana).generate(key)
            except InDoubt:
                if created:
                    ledger.settle(key, task_id=created[0])
                else:
                    ledger.release(key)
                outcomes.append("in doubt, charged" if created else "in doubt, not charged")
            else:
                outcomes.append("recorded" if created else "not claimed")
            task = ledger.once(key, banana).generate(key)
            assert tasks_of(banana_server, key) == [task.id]
    # The points come in this order, and each kind has some.
    assert outcomes == sorted(outcomes, key=ORDER.index)
    assert set(outcomes) == set(ORDER)


def test_a_batch_whose_processes_are_killed_at_random_loses_nothing(
    postgresql: str, tmp_path: Path
) -> None:
    """The short form of `make chaos`."""
    with chaos.mock() as url:
        batch = Batch(url, new_schema(postgresql), tmp_path, rows=40)
        report = chaos.run("PostgreSQL", batch, kills=4, workers=2)
    assert (report.kills, report.charged, report.pictures) == (4, 40, 40), chaos.table([report])
    assert (report.paid_twice, report.lost, report.problems) == (0, 0, [])


ORDER = ["not claimed", "in doubt, not charged", "in doubt, charged", "recorded"]


def tasks_of(server: MockServer, prompt: str) -> list[str]:
    """Return the ids of the tasks that the server has charged for a prompt."""
    return [task.id for task in server._api.tasks.all() if task.request["prompt"] == prompt]
