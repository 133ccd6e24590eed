"""Replacing a text file atomically."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def replacing(file: Path, *, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Open a file that takes the place of `file` once it is complete. Raises OSError."""
    part = file.with_name(f".{secrets.token_hex()}.part")
    try:
        with part.open("x", encoding=encoding, errors="replace", newline="") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
