"""Replacing a text file atomically."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mountsea_banana._shared.files import part_of


@contextlib.contextmanager
def replacing(file: Path, *, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Open a file that takes the place of `file` once it is complete. Raises OSError."""
    with part_of(file) as part:
        with part.open("x", encoding=encoding, errors="replace", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
