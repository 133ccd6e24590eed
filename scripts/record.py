"""Record the terminal session that README.md shows, and the image that it generates.

    python scripts/record.py

The commands run for real, against a mock server; only task ids and durations are normalised.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mountsea_banana.mock import MockServer, Plan
from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parent.parent / "docs/images"
WIDTH = 96
KEY = "test-token"
TASK_ID = "7d1fe2a90c5b4b7f8f2c6de0a91b3c54"

COMMANDS = (
    'nano-banana generate "A fluffy orange cat" -a 8:1 -r 2K',
    'nano-banana generate "A fluffy orange cat" -a 16:9 -o cat.png --once cover/1',
    'nano-banana generate "A fluffy orange cat" -a 16:9 -o again.png --once cover/1',
)


def main() -> None:
    """Write the recording and the image to docs/images."""
    with tempfile.TemporaryDirectory() as folder:
        lines = list(session(Path(folder)))
        (IMAGES / "cat.png").write_bytes((Path(folder) / "cat.png").read_bytes())
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in lines:
        console.print(Text(line, "bold" if line.startswith("$ ") else ""))
    svg = console.export_svg(title="nano-banana", unique_id="recording")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # it would load web fonts
    (IMAGES / "recording.svg").write_text(svg, "utf-8")


def session(folder: Path) -> Iterator[str]:
    """Run the commands in a folder and yield the lines that a terminal would show."""
    with MockServer(plan=Plan(polls=1)) as server:
        environment = {
            "COLUMNS": str(WIDTH),
            "HOME": str(folder),
            "MOUNTSEA_API_KEY": KEY,
            "MOUNTSEA_BASE_URL": server.url,
            "PATH": os.environ["PATH"],
            "XDG_DATA_HOME": str(folder / "data"),
        }
        for command in COMMANDS:
            yield f"$ {command}"
            program, *arguments = shlex.split(command)
            process = subprocess.run(  # noqa: S603
                [Path(sys.executable).with_name(program), *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                check=False,
            )
            output = re.sub(r"\b[0-9a-f]{32}\b", TASK_ID, process.stdout)
            yield from re.sub(r"done in \d+ s", "done in 4 s", output).splitlines()


if __name__ == "__main__":
    main()
