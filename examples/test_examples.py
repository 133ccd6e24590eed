"""The other examples run, too."""

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


def test_the_worker_finishes_in_one_process_what_another_submitted(
    banana_server: MockServer, tmp_path: Path
) -> None:
    store, folder = str(tmp_path / "pictures.db"), tmp_path / "out"
    task_id = run_worker("add", store, "a cat")
    assert run_worker("work", store, str(folder)) == f"saved {folder / task_id}.png"
    assert run_worker("work", store, str(folder)) == ""
    assert banana_server.charged == 1


def test_the_worker_keeps_what_it_could_not_finish_and_drops_what_failed(
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


def test_the_worker_pays_for_nothing_where_the_id_cannot_be_stored(
    banana: NanoBanana, banana_server: MockServer, tmp_path: Path
) -> None:
    path = str(tmp_path / "pictures.db")
    with (
        contextlib.closing(worker.open_store(path)) as store,
        contextlib.closing(worker.open_store(path)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        store.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            worker.add(store, banana, "a cat")
    assert banana_server.charged == 0


def test_the_notebook_loses_no_picture_to_the_failure_of_another(
    banana_server: MockServer, capsys: pytest.CaptureFixture[str]
) -> None:
    banana_server.next_task(Plan(refusals=1, refusal_status=400, polls=1))
    failed, made = asyncio.run(notebook.make_pictures("a cat", "a dog"))
    assert {type(failed), type(made)} == {BadRequestError, bytes}
    assert banana_server.charged == capsys.readouterr().out.count("AsyncTask(") == 1


def test_the_notebook_makes_pictures_side_by_side(banana_server: MockServer) -> None:
    pictures = asyncio.run(notebook.make_pictures("a cat", "a dog"))
    assert [isinstance(each, bytes) and each[:4] for each in pictures] == [b"\x89PNG"] * 2
    prompts = {str(body["prompt"]) for body in banana_server.submissions}
    assert prompts == {"a cat", "a dog"}
