"""Every Python block of the README runs against the mock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mountsea_banana._clock import Clock
from mountsea_banana.mock import MockServer

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_the_readme_has_python_blocks() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_python_block_of_the_readme_runs(
    block: str, banana_server: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_wait(self: Clock, seconds: float) -> None:
        assert seconds > 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    monkeypatch.setattr(Clock, "sleep", lambda self, seconds: None)
    monkeypatch.setattr(Clock, "sleep_async", no_wait)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
