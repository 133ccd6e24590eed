"""Measure the import, the rules, a submission and the contract tests.

Each figure is the median of several rounds. Comparisons alternate the rounds of both sides and
report the ratio of the medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import httpx
from mountsea_banana import NanoBanana, check_request
from mountsea_banana.mock import MockServer

ROUNDS = 7
CACHE = tempfile.TemporaryDirectory()
BODY = {"prompt": "a cat", "action": "generate", "model": "nano-banana-2", "aspect_ratio": "8:1"}


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Return the median seconds that each of two calls takes, measured in alternating rounds."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def python(code: str) -> Callable[[], object]:
    """Return a function that runs `code` in a fresh interpreter with a warm bytecode cache."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": CACHE.name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, check=True, env=environment)  # noqa: S603


def main() -> None:
    """Print the figures."""
    ours, theirs = compare(python("from mountsea_banana import NanoBanana"), python("import httpx"))
    print(f"import: {(ours - theirs) * 1000:.0f} ms more than httpx ({ours / theirs:.2f}x)")

    checks = statistics.median(
        seconds(lambda: [check_request(BODY) for _ in range(1000)]) for _ in range(ROUNDS)
    )
    print(f"check_request: {checks * 1000:.0f} µs per request")

    with MockServer() as server, NanoBanana("test-token", base_url=server.url) as banana:
        headers = {"Authorization": "Bearer test-token"}
        url = f"{server.url}/gemini/image/generate"
        with httpx.Client(headers=headers) as client:
            ours, theirs = compare(
                lambda: [banana.submit(BODY) for _ in range(200)],
                lambda: [client.post(url, json=BODY) for _ in range(200)],
            )
    print(f"submit: {ours / theirs:.2f}x the time of plain httpx ({ours * 5:.1f} ms per call)")

    harness = [sys.executable, "-m", "mountsea_banana.harness", "--report", "contract-report"]
    run = statistics.median(
        seconds(lambda: subprocess.run(harness, check=True, capture_output=True))  # noqa: S603
        for _ in range(3)
    )
    print(f"make contract: {run:.1f} s against the mock server")


if __name__ == "__main__":
    main()
