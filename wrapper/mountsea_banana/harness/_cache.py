"""Keeps what takes long to generate from one run to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from platformdirs import user_cache_path

from mountsea_banana._shared.files import part_of
from mountsea_banana._version import __version__

_VERSIONS = (__version__, *map(version, ("hypothesis", "schemathesis")))


def cached(make: Callable[[], list[Any]], *inputs: Any) -> list[Any]:
    """Return what `make` returns, from a file if an earlier run had the same inputs and versions.

    Both are JSON. A file that cannot be read or written only costs time.
    """
    # YAML has dates, which JSON lacks.
    text = json.dumps([_VERSIONS, inputs], default=str)
    name = f"contract-tests-{hashlib.sha256(text.encode()).hexdigest()}.json"
    path = user_cache_path("mountsea-banana", appauthor=False) / name
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, list):
            return found
    made = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_of(path) as part:  # another run may be reading it
            part.write_text(json.dumps(made), "ascii")
            part.replace(path)
    return made
