"""Importing the package brings no extra, and the mock starts within a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import mountsea_banana
import pytest


def test_the_import_brings_no_extra_and_no_event_loop() -> None:
    heavy = "('asyncio', 'yaml', 'jsonschema_rs', 'starlette', 'uvicorn', 'PIL')"
    code = f"import sys, mountsea_banana; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_import_takes_at_most_30_ms_more_than_that_of_httpx(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(name: str) -> float:
        code = f"import {name}, time; print(time.process_time())"
        return float(subprocess.check_output([sys.executable, "-c", code], env=environment))

    # The processor's time, and the least of several pairs: what else runs only ever adds to it.
    pairs = [(seconds("httpx"), seconds("mountsea_banana")) for _ in range(9)]
    assert min(ours for _, ours in pairs) - min(theirs for theirs, _ in pairs) <= 0.030


def test_the_asynchronous_client_is_imported_when_it_is_named() -> None:
    assert mountsea_banana.AsyncNanoBanana.__name__ == "AsyncNanoBanana"
    assert all(hasattr(mountsea_banana, name) for name in mountsea_banana.__all__)
    with pytest.raises(AttributeError, match="no attribute 'NanoOrange'"):
        mountsea_banana.NanoOrange  # noqa: B018


def test_the_mock_answers_within_a_second_of_its_start() -> None:
    start = time.perf_counter()
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        assert httpx.get(url).status_code == 200
        took = time.perf_counter() - start
        process.terminate()
        process.stdout.read()
    assert took <= 1
