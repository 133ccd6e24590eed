"""A worker for jobs that may be delivered more than once.

    python worker.py pictures.db out < jobs.txt    # as often as you like

A job is a line with a key, a tab and a prompt. Several workers may get the same job, at the same
time or after a crash. The ledger lets the first one pay, and gives the others the same picture.
With Celery, Ray or another queue, call `finish` in the job, with a key that the job keeps when it
is delivered again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from mountsea_banana import NanoBanana, NanoBananaError
from mountsea_banana.ledger import Ledger


def finish(ledger: Ledger, banana: NanoBanana, key: str, prompt: str, folder: Path) -> Path:
    """Return the file with the picture of a job; generate and pay for it only if nobody has."""
    task = ledger.once(key, banana).generate(prompt)
    return task.wait().save(f"{folder}/")  # the file is named after the task


def work(ledger: Ledger, banana: NanoBanana, jobs: Iterable[str], folder: Path) -> int:
    """Finish jobs; return how many could not be finished. It is safe to deliver those again."""
    unfinished = 0
    for job in jobs:
        key, _, prompt = job.rstrip("\n").partition("\t")
        try:
            print("saved", finish(ledger, banana, key, prompt, folder))
        except NanoBananaError as error:
            print(f"{key} is not finished: {error}", file=sys.stderr)
            unfinished += 1
    return unfinished


def main(location: str, folder: str) -> int:
    """Finish the jobs from stdin; return the exit code."""
    with Ledger(location) as ledger, NanoBanana() as banana:
        return min(work(ledger, banana, sys.stdin, Path(folder)), 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
