"""Batches whose processes are killed at random moments: nothing is paid twice, nothing is lost.

`python -m tests.chaos [KILLS]` runs many rows against a mock server in a process of its own: first
with one process on an SQLite ledger, then with several on one PostgreSQL ledger. It kills a process
with SIGKILL, starts another one, and so on, `KILLS` times each (by default 200). At the end, it
settles every key in doubt from the mock's account, lets one process finish, and compares the
ledger, the pictures and the account. It prints a table, and exits with 1 if they differ.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from attrs import define, field
from mountsea_banana.ledger import Ledger

from tests.chaos_worker import CLAIM_SECONDS, CONCURRENCY, Batch, work
from tests.postgresql import serve

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.chaos_worker"])


@define
class Worker:
    """A process that works on a batch, and the journal of its rows."""

    journal: Path
    process: Any

    @classmethod
    def start(cls, batch: Batch, number: int) -> Worker:
        journal = batch.folder / f"journal-{number}"
        process = _processes.Process(target=work, args=(batch, journal), daemon=True)
        process.start()
        return cls(journal, process)

    def wait_until_busy(self) -> None:
        """Return when the process has begun its first row."""
        for _ in range(6000):
            if not self.process.is_alive() or (
                self.journal.exists() and self.journal.stat().st_size
            ):
                return
            time.sleep(0.01)

    def in_flight(self) -> set[str]:
        """Return the keys of the rows that the process has begun and not ended."""
        lines = self.journal.read_text("utf-8").split("\n") if self.journal.exists() else []
        counts = Counter(line.partition(" ")[2] for line in lines)
        return {key for key, count in counts.items() if key and count == 1}

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()


@define
class Report:
    """What became of the rows of a run."""

    name: str
    rows: int
    kills: int = 0
    in_flight: int = 0
    """At most, in a process that was killed."""
    in_doubt: int = 0
    """Rows that the kills have put in doubt."""
    most_in_doubt: int = 0
    """By one kill, at most."""
    settled: int = 0
    released: int = 0
    charged: int = 0
    pictures: int = 0
    paid_twice: int = 0
    lost: int = 0
    """Charged, and neither recorded nor in doubt."""
    problems: list[str] = field(factory=list)
    seconds: float = 0.0


def run(name: str, batch: Batch, *, kills: int, workers: int, seed: int = 1) -> Report:
    """Run a batch whose processes are killed; return what became of its rows."""
    report = Report(name, batch.rows)
    chance = random.Random(seed)
    start = time.monotonic()
    with Ledger(batch.location) as ledger:
        victims: list[set[str]] = []
        team = [Worker.start(batch, number) for number in range(workers)]
        while report.kills < kills:
            victim = team.pop(0)
            if chance.random() < 0.95:  # a few are killed while they start
                victim.wait_until_busy()
            time.sleep(chance.uniform(0, 0.15))
            victim.kill()
            victims.append(victim.in_flight())
            report.kills += 1
            _check_kill(report, ledger, victims, team)
            team.append(Worker.start(batch, report.kills + workers))
        for worker in team:
            worker.kill()
        doubtful = _unfinished(ledger)
        report.in_flight = max(map(len, victims))
        report.in_doubt = len(doubtful)
        report.most_in_doubt = max(len(victim & doubtful) for victim in victims)
        _settle(report, batch, ledger)
        last = Worker.start(batch, -1)
        last.process.join(600)
        last.kill()
        _compare(report, batch, ledger)
    report.seconds = time.monotonic() - start
    return report


def _check_kill(
    report: Report, ledger: Ledger, victims: Sequence[set[str]], living: Sequence[Worker]
) -> None:
    """Check that the last kill has put only rows in doubt that were in flight."""
    # A PostgreSQL server may commit what a process sent before it was killed a little later.
    in_flight = set[str]().union(*victims, *(worker.in_flight() for worker in living))
    unexplained = _unfinished(ledger) - in_flight
    unexplained -= set[str]().union(*(worker.in_flight() for worker in living))  # begun meanwhile
    unexplained &= _unfinished(ledger)  # without those that also ended meanwhile
    if unexplained or len(victims[-1]) > CONCURRENCY:
        report.problems.append(f"in flight: {victims[-1]}, and also in doubt: {unexplained}")


def _unfinished(ledger: Ledger) -> set[str]:
    return {entry.key for entry in ledger.entries() if entry.state in ("claimed", "in doubt")}


def _settle(report: Report, batch: Batch, ledger: Ledger) -> None:
    """Settle or release every key in doubt, as a person would who looks into the account."""
    time.sleep(CLAIM_SECONDS)  # until the last claim has ended
    created = _account(batch.url)
    for entry in list(ledger.entries("in doubt")):
        tasks = created.get(entry.key, [])
        if tasks:
            ledger.settle(entry.key, task_id=tasks[0])
            report.settled += 1
        else:
            ledger.release(entry.key)
            report.released += 1


def _compare(report: Report, batch: Batch, ledger: Ledger) -> None:
    """Compare the ledger and the pictures with the account."""
    created = _account(batch.url)
    report.charged = sum(map(len, created.values()))
    report.paid_twice = sum(len(tasks) > 1 for tasks in created.values())
    known = {entry.task_id for entry in ledger.entries()}
    report.lost = sum(task not in known for tasks in created.values() for task in tasks)
    report.pictures = sum(map(batch.is_complete, batch.keys))
    if report.pictures != report.rows:
        report.problems.append(f"{report.rows - report.pictures} rows without a picture")
    if report.charged != report.rows:
        report.problems.append(f"{report.charged} charges for {report.rows} rows")


def _account(url: str) -> Mapping[str, Sequence[str]]:
    """Return the tasks that the mock has charged, by prompt, which is the key."""
    state = httpx.get(f"{url}/_mock", trust_env=False).json()
    created: dict[str, list[str]] = {}
    for request, task in zip(state["submissions"], state["tasks"], strict=True):
        created.setdefault(request["prompt"], []).append(task["taskId"])
    return created


@contextlib.contextmanager
def mock() -> Iterator[str]:
    """Run a mock server in a process of its own; yield its URL."""
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0", "--polls", "1"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # about clients that were killed while they sent a request
        text=True,
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split()[3]
        try:
            yield url
        finally:
            process.terminate()


COLUMNS = (
    ("ledger", "name"),
    ("kills", "kills"),
    ("rows", "rows"),
    ("in flight", "in_flight"),
    ("in doubt", "in_doubt"),
    ("most by a kill", "most_in_doubt"),
    ("settled", "settled"),
    ("released", "released"),
    ("charged", "charged"),
    ("pictures", "pictures"),
    ("paid twice", "paid_twice"),
    ("lost", "lost"),
)


def table(reports: Sequence[Report]) -> str:
    """Return reports as a table, one column each."""
    lines = [
        f"{title:<16}" + "".join(f"{getattr(report, name):>14}" for report in reports)
        for title, name in COLUMNS
    ]
    problems = [f"{each.name}: {problem}" for each in reports for problem in each.problems]
    return "\n".join([*lines, *problems])


def main(arguments: Sequence[str]) -> int:
    """Run both batches; return 1 if money or a picture was lost."""
    kills = int(arguments[0]) if arguments else 200
    reports = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        places = {"SQLite": (str(folder / "ledger.db"), 1)}
        with contextlib.suppress(ImportError):  # there is no PostgreSQL for this platform
            places["PostgreSQL"] = (stack.enter_context(serve(folder / "postgresql")), 3)
        for kind, (location, workers) in places.items():
            with mock() as url:
                pictures = folder / kind
                pictures.mkdir()
                batch = Batch(url, location, pictures, rows=10 * kills)
                reports.append(run(kind, batch, kills=kills, workers=workers))
            print(f"chaos: {kind} took {reports[-1].seconds:.0f} s", flush=True)
    print(table(reports))
    return int(any(each.problems or each.paid_twice or each.lost for each in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
