"""A bank of servers of the API in real frameworks, and the mistakes that engineers make in them.

The honest servers conform to the contract. They keep their framework's defaults except where a
default violates the contract, and name each such setting. A defect edits one of them. Some of the
servers run in Node, and need the packages of `package.json`.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .defects import DEFECTS as PYTHON_DEFECTS
from .node_defects import NODE_DEFECTS

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
DEFECTS = {**PYTHON_DEFECTS, **NODE_DEFECTS}
PYTHON_NAMES = tuple(sorted(PYTHON_DEFECTS))
NODE_NAMES = tuple(sorted(NODE_DEFECTS))
START_TIMEOUT = 30.0


def source(name: str, defect: str = "") -> tuple[Path, str]:
    """Return the file of a server and its source, with a defect if one is named."""
    (path,) = (FOLDER / "honest").glob(f"{name}_server.*")
    text = path.read_text("utf-8")
    if defect:
        edit = next(each for each in DEFECTS[name] if each.title == defect)
        if text.count(edit.old) != 1:
            raise ValueError(f"{name}: {defect}: the server's source does not have the text once")
        text = text.replace(edit.old, edit.new)
    return path, text


@contextlib.contextmanager
def running(name: str, defect: str = "") -> Iterator[str]:
    """Run a server in a process of its own, with a defect if one is named; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    if name in NODE_NAMES:
        command = ["node", str(FOLDER / "run.cjs"), str(port)]
    else:
        command = [sys.executable, "-W", "ignore", "-m", "tests.servers.run", str(port), name]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdin is not None
            with process.stdin:
                process.stdin.write(source(name, defect)[1].encode())
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
