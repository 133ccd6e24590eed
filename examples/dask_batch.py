"""Many pictures on a Dask cluster. Dask runs lost jobs again; a shared ledger makes that free.

    python dask_batch.py tcp://scheduler:8786 postgresql://user@host/pictures /shared/out < jobs.txt

A job is a line with a key, a tab and a prompt. Dask schedules the jobs, retries them, and moves
them away from workers that die. It also repeats jobs that were finished, if a dead worker had their
results. The ledger gives every repetition the same picture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from distributed import Client
from mountsea_banana import NanoBanana, NanoBananaError
from mountsea_banana.ledger import Ledger

# One client and one ledger for each worker process; its threads share them.
open_client = cache(NanoBanana)
open_ledger = cache(Ledger)


def finish(job: str, location: str, folder: str) -> tuple[str, Path | NanoBananaError]:
    """Return the key of a job, and the file with its picture or why there is none."""
    key, _, prompt = job.rstrip("\n").partition("\t")
    try:
        task = open_ledger(location).once(key, open_client()).generate(prompt)
        return key, task.wait().save(f"{folder}/")  # the file is named after the task
    except NanoBananaError as error:  # an error that is raised would make Dask repeat the job
        return key, error


def run(
    dask: Client, jobs: Iterable[str], location: str, folder: str
) -> dict[str, Path | NanoBananaError]:
    """Run jobs on a cluster; return the file or the error of each key."""
    # Jobs that look alike may still be two pictures: the key decides.
    futures = dask.map(finish, list(jobs), location=location, folder=folder, pure=False)
    return dict(dask.gather(futures))  # type: ignore[no-untyped-call]


def main(scheduler: str, location: str, folder: str) -> int:
    """Run the jobs from stdin; print what became of each, and return the exit code."""
    with Client(scheduler) as dask:  # type: ignore[no-untyped-call]
        results = run(dask, sys.stdin, location, folder)
    for key, result in results.items():
        print(key, result, sep="\t")
    return int(any(isinstance(result, NanoBananaError) for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
