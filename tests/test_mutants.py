"""`make mutants` leaves nothing behind when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def processes_in(folder: Path) -> list[Path]:
    """Return the processes whose working directory is in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink().is_relative_to(folder):
                found.append(link.parent)
        except OSError:  # it has just ended, or is another user's
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
def test_ctrl_c_ends_the_tests_and_removes_the_mutants(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "scripts/mutants.py", "rules/_violations"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not processes_in(tmp_path):
        threading.Event().wait(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, ("", "mutants: interrupted\n"))
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
