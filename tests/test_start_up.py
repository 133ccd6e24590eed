"""What starting costs. Run alone: other tests beside it would be measured as well."""

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
    """The environment of a program whose modules were compiled at an earlier start."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def test_the_import_takes_at_most_30_ms_more_than_that_of_httpx(
    environment: Mapping[str, str],
) -> None:
    def seconds(statement: str) -> float:
        code = f"{statement}; import time; print(time.process_time())"
        return float(subprocess.check_output([sys.executable, "-c", code], env=environment))

    bare, client = "import httpx", "from mountsea_banana import NanoBanana"
    # The processor's time, and the least of several pairs: what else runs only ever adds to it.
    theirs, ours = seconds(bare), seconds(client)
    for _ in range(30):
        if ours - theirs <= 0.030:
            break
        theirs, ours = min(theirs, seconds(bare)), min(ours, seconds(client))
    assert ours - theirs <= 0.030


def test_the_help_of_the_command_line_is_there_within_300_ms(
    environment: Mapping[str, str],
) -> None:
    command = [sys.executable, "-c", "from mountsea_banana.cli import main; main(['--help'])"]

    def seconds() -> float:
        start = time.perf_counter()
        assert subprocess.check_output(command, env=environment).startswith(b"Usage: nano-banana")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(4)) <= 0.3


def test_the_mock_answers_within_a_second_of_its_start() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3]
            assert httpx.get(url).status_code == 200
            took = time.perf_counter() - start
            process.terminate()
            process.stdout.read()
        return took

    assert min(seconds() for _ in range(3)) <= 1
