"""What is fast to start imports nothing that it does not need. `make bench` measures the time."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "unneeded"),
    [
        (
            "from mountsea_banana import NanoBanana",
            {"asyncio", "mcp", "mountsea_api", "sqlalchemy"},
        ),
        (
            "from mountsea_banana.cli import main; main(['--help'])",
            {"asyncio", "httpx", "mcp", "mountsea_api", "sqlalchemy"},
        ),
    ],
    ids=["the-client", "the-help-of-the-command-line"],
)
def test_nothing_slow_is_imported_without_need(code: str, unneeded: set[str]) -> None:
    program = f"import sys\ntry:\n    {code}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert unneeded.isdisjoint(ran.stderr.split())
