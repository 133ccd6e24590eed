"""Importing the package brings no extra, and the mock starts within a second."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx


def test_the_import_brings_no_extra_and_no_event_loop() -> None:
    heavy = "('asyncio', 'yaml', 'jsonschema_rs', 'starlette', 'uvicorn', 'PIL')"
    code = f"import sys, mountsea_banana; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


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
