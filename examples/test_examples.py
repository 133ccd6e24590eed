"""Tests of the worker and the notebook."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mountsea_banana import BadRequestError, NanoBanana
from mountsea_banana.mock import MockServer, Plan

from examples import notebook, worker


@pytest.fixture(autouse=True)
def _environment(banana_server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    banana_server.plan = Plan(polls=1)


def run_worker(*arguments: str) -> str:
    command = [sys.executable, worker.__file__, *arguments]
    return subprocess.check_output(command, text=True).strip()


def test_a_worker_finishes_tasks_that_another_process_submitted(
    banana_server: MockServer, tmp_path: Path
) -> None:
    store, folder = str(tmp_path / "tasks.db"), tmp_path / "out"
    task_id = run_worker("add", store, "a cat")
    assert run_worker("work", store, str(folder)) == f"saved {folder / task_id}.png"
    assert run_worker("work", store, str(folder)) == ""
    assert banana_server.charged == 1


def test_a_worker_keeps_unfinished_tasks_and_drops_failed_ones(
    banana: NanoBanana, banana_server: MockServer, tmp_path: Path
) -> None:
    with contextlib.closing(worker.open_store(":memory:")) as store:
        banana_server.next_task(Plan(ends_as="failed"))
        banana_server.next_task(Plan(truncates=True))
        worker.add(store, banana, "a cat")
        kept = worker.add(store, banana, "a dog")
        worker.work(store, banana, tmp_path)
        assert store.execute("SELECT id FROM open_tasks").fetchall() == [(kept,)]
    assert list(tmp_path.iterdir()) == []


def test_a_worker_submits_nothing_if_it_cannot_store_the_id(
    banana: NanoBanana, banana_server: MockServer, tmp_path: Path
) -> None:
    path = str(tmp_path / "tasks.db")
    with (
        contextlib.closing(worker.open_store(path)) as store,
        contextlib.closing(worker.open_store(path)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        store.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            worker.add(store, banana, "a cat")
    assert banana_server.charged == 0


def test_a_failed_prompt_does_not_lose_the_other_images(
    banana_server: MockServer, capsys: pytest.CaptureFixture[str]
) -> None:
    banana_server.next_task(Plan(refusals=1, refusal_status=400, polls=1))
    failed, image = asyncio.run(notebook.generate_images("a cat", "a dog"))
    assert {type(failed), type(image)} == {BadRequestError, bytes}
    assert banana_server.charged == capsys.readouterr().out.count("AsyncTask(") == 1


def test_the_notebook_generates_images_concurrently(banana_server: MockServer) -> None:
    images = asyncio.run(notebook.generate_images("a cat", "a dog"))
    assert [isinstance(each, bytes) and each[:4] for each in images] == [b"\x89PNG"] * 2
    prompts = {str(body["prompt"]) for body in banana_server.submissions}
    assert prompts == {"a cat", "a dog"}
