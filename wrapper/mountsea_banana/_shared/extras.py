"""The message for a library that belongs to an extra and is not installed."""

from __future__ import annotations


def missing(error: ImportError, extra: str) -> str:
    """Return a message with the missing library and the command that installs its extra."""
    return f"{error.name} is missing: pip install 'mountsea-banana[{extra}]'"
