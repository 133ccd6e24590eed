"""What starting costs. Run alone: other tests beside it would be measured as well."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx


def test_the_import_takes_at_most_30_ms_more_than_that_of_httpx(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(name: str) -> float:
        code = f"import {name}, time; print(time.process_time())"
        return float(subprocess.check_output([sys.executable, "-c", code], env=environment))

    # The processor's time, and the least of several pairs: what else runs only ever adds to it.
    theirs, ours = seconds("httpx"), seconds("mountsea_banana")
    for _ in range(30):
        if ours - theirs <= 0.030:
            break
        theirs, ours = min(theirs, seconds("httpx")), min(ours, seconds("mountsea_banana"))
    assert ours - theirs <= 0.030


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
