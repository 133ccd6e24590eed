"""The types say what the rules say, to mypy and to pyright, of every literal call."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mountsea_banana import check_request

ROOT = Path(__file__).parent.parent
MODELS = (None, "nano-banana-fast", "nano-banana-pro", "nano-banana-2")
RATIOS = [None, *"21:9 1:1 4:3 3:2 2:3 5:4 4:5 3:4 16:9 9:16 1:4 4:1 1:8 8:1".split(), "7:7"]  # noqa: SIM905
RESOLUTIONS = (None, "1K", "2K", "4K", "8K")
HEAD = """from mountsea_banana import AsyncNanoBanana, NanoBanana

async def calls(a: NanoBanana, b: AsyncNanoBanana) -> None:
"""


def every_call() -> list[tuple[str, bool]]:
    """Return each literal call with whether it is legal."""
    calls = []
    starts = [
        ('a.generate("x"', {"action": "generate"}),
        ('await b.generate("x"', {"action": "generate"}),
        ('a.edit("x", "https://example.com/a"', {"action": "edit"}),
        ('await b.edit("x", ["https://example.com/a"]', {"action": "edit"}),
    ]
    for (start, body), model, ratio, resolution in itertools.product(
        starts, MODELS, RATIOS, RESOLUTIONS
    ):
        options = {"model": model, "aspect_ratio": ratio, "resolution": resolution}
        given = {name: value for name, value in options.items() if value is not None}
        text = ", ".join([start, *(f'{name}="{value}"' for name, value in given.items())]) + ")"
        request = {"prompt": "x", "image_urls": ["https://example.com/a"], **body, **given}
        calls.append((text, not check_request(request)))
    return calls


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("types") / "calls.py"
    path.write_text(HEAD + "".join(f"    {call}\n" for call, _ in every_call()))
    return path


def illegal_lines() -> set[int]:
    first = HEAD.count("\n") + 1
    return {first + index for index, (_, legal) in enumerate(every_call()) if not legal}


def test_mypy_refuses_exactly_the_illegal_calls(source: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--output=json", str(source)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {each["line"] for each in found if each["severity"] == "error"} == illegal_lines()


def test_pyright_refuses_exactly_the_illegal_calls(source: Path) -> None:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, cwd=source.parent, check=False
    )
    found = json.loads(ran.stdout)["generalDiagnostics"]
    lines = {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}
    assert lines == illegal_lines()
