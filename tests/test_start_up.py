"""Start-up time. Run this file alone, because tests running in parallel distort the results."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a program whose modules are already compiled."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def test_the_import_takes_at_most_30_ms_more_than_httpx(
    environment: Mapping[str, str],
) -> None:
    def seconds(statement: str) -> float:
        code = f"{statement}; import time; print(time.process_time())"
        return float(subprocess.check_output([sys.executable, "-c", code], env=environment))

    baseline, client = "import httpx", "from mountsea_banana import NanoBanana"
    # The minimum CPU time of several runs, because other processes can only add to it.
    theirs, ours = seconds(baseline), seconds(client)
    for _ in range(30):
        if ours - theirs <= 0.030:
            break
        theirs, ours = min(theirs, seconds(baseline)), min(ours, seconds(client))
    assert ours - theirs <= 0.030


def test_the_help_of_the_command_line_appears_within_300_ms(
    environment: Mapping[str, str],
) -> None:
    command = [sys.executable, "-c", "from mountsea_banana.cli import main; main(['--help'])"]

    def seconds() -> float:
        start = time.perf_counter()
        assert subprocess.check_output(command, env=environment).startswith(b"Usage: nano-banana")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(4)) <= 0.3


def test_the_mock_responds_within_a_second_of_its_start() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3]
            assert httpx.get(url).status_code == 200
            elapsed = time.perf_counter() - start
            process.terminate()
            process.stdout.read()
        return elapsed

    assert min(seconds() for _ in range(3)) <= 1
