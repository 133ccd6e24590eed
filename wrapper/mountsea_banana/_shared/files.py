"""Files that are replaced at once."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def part_of(file: Path) -> Iterator[Path]:
    """Yield a path beside a file, for a new version of it. Nothing is left at that path."""
    part = file.with_name(f".{secrets.token_hex()}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
