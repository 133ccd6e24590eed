"""Showing values in messages."""

from __future__ import annotations

import reprlib


def shown(value: object) -> str:
    """Return a value's repr, shortened; its type if it has no usable repr."""
    try:
        return reprlib.repr(value)
    except Exception:  # such as an integer with too many digits
        return f"<{type(value).__name__}>"
