"""Tests of the worker and the notebook."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from mountsea_banana import BadRequestError, NanoBanana
from mountsea_banana.ledger import Ledger
from mountsea_banana.mock import MockServer, Plan

from examples import notebook, worker


@pytest.fixture(autouse=True)
def _environment(banana_server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    banana_server.plan = Plan(polls=1)


def run_worker(folder: Path, *jobs: str) -> list[str]:
    command = [sys.executable, worker.__file__, str(folder / "pictures.db"), str(folder)]
    return subprocess.check_output(command, input="\n".join(jobs), text=True).splitlines()


def test_jobs_that_are_delivered_again_are_paid_for_once(
    banana_server: MockServer, tmp_path: Path
) -> None:
    first = run_worker(tmp_path, "one\ta cat", "two\ta dog")
    assert len(first) == 2
    assert run_worker(tmp_path, "two\ta dog", "one\ta cat") == first[::-1]
    assert banana_server.charged == 2


def test_a_job_that_fails_does_not_stop_the_others(
    banana: NanoBanana, banana_server: MockServer, tmp_path: Path
) -> None:
    banana_server.next_task(Plan(ends_as="failed"))
    with Ledger(tmp_path / "pictures.db") as ledger:
        jobs = ["one\ta cat", "two\ta dog"]
        assert worker.work(ledger, banana, jobs, tmp_path) == 1
        assert worker.work(ledger, banana, jobs, tmp_path) == 1
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert banana_server.charged == 2


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
