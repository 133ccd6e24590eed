"""A Dask cluster whose workers are killed repeats jobs; with a shared ledger, each is paid once."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import httpx
import pytest
from distributed import Client, LocalCluster
from mountsea_banana import NanoBanana, NanoBananaError
from mountsea_banana.ledger import InDoubt, Ledger, _flows
from mountsea_banana.mock import MockServer, Plan

from examples import dask_batch
from tests.conftest import KEY
from tests.postgresql import new_schema

ROWS = 24
KILLS = (3, 8, 13)
"""After how many charges a worker is killed."""


@functools.cache
def open_client() -> NanoBanana:
    return NanoBanana(timeout=httpx.Timeout(1.0), max_retries=0)


def finish(job: str, location: str, folder: str) -> tuple[str, Path | NanoBananaError]:
    """What a worker does, with claims that end soon: nobody has to wait for a killed worker's."""
    _flows.SLACK = 1.0
    dask_batch.open_client = open_client
    return dask_batch.finish(job, location, folder)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, banana_server: MockServer) -> Iterator[Any]:
    monkeypatch.setenv("MOUNTSEA_API_KEY", KEY)
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    banana_server.plan = Plan(polls=1)
    options = {"n_workers": 3, "threads_per_worker": 2, "silence_logs": logging.CRITICAL}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": len(KILLS)}),
        LocalCluster(dashboard_address=None, **options) as cluster,  # type: ignore[no-untyped-call]
    ):
        yield cluster


def kill_workers(cluster: Any, server: MockServer, is_over: threading.Event) -> None:
    for kills, charges in enumerate(KILLS):
        while server.charged < charges and not is_over.wait(0.02):
            pass
        worker = list(cluster.workers.values())[kills % len(cluster.workers)]
        if worker.pid and not is_over.is_set():
            os.kill(worker.pid, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")  # of Dask, about its own ports and processes
def test_each_row_has_one_picture_that_was_paid_for_once(
    cluster: Any,
    banana_server: MockServer,
    postgresql: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = new_schema(postgresql)
    monkeypatch.setattr(dask_batch, "finish", finish)
    is_over = threading.Event()
    killer = threading.Thread(target=kill_workers, args=(cluster, banana_server, is_over))
    with Client(cluster) as client:  # type: ignore[no-untyped-call]
        killer.start()
        try:
            jobs = [f"key {row}\tprompt {row}\n" for row in range(ROWS)]
            results = dask_batch.run(client, jobs, location, str(tmp_path))
        finally:
            is_over.set()
            killer.join()
    paid = Counter(str(body["prompt"]) for body in banana_server.submissions)
    assert set(paid.values()) == {1}
    assert set(results) == {f"key {row}" for row in range(ROWS)}
    in_doubt = {key for key, result in results.items() if isinstance(result, InDoubt)}
    with Ledger(location) as ledger:
        assert {entry.key for entry in ledger.entries("in doubt")} == in_doubt
    for key, result in results.items():
        assert key in in_doubt or (isinstance(result, Path) and result.exists())
