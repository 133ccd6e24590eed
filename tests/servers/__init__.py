"""A bank of servers of the API in real frameworks, and the mistakes that engineers make in them.

The honest servers conform to the contract. They keep their framework's defaults except where a
default violates the contract, and name each such setting. A defect edits one of them.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .defects import DEFECTS

ROOT = Path(__file__).parents[2]
NAMES = tuple(sorted(DEFECTS))
START_TIMEOUT = 30.0


@contextlib.contextmanager
def running(name: str, defect: str = "") -> Iterator[str]:
    """Run a server in a process of its own, with a defect if one is named; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "tests.servers.run", str(port), name, defect]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_until_open(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start: {process.args!r}")
