"""Text: showing values in messages, and what UTF-8 can encode."""

from __future__ import annotations

import reprlib


def shown(value: object) -> str:
    """Return a value's repr, shortened; its type if it has no usable repr."""
    try:
        return reprlib.repr(value)
    except Exception:  # such as an integer with too many digits
        return f"<{type(value).__name__}>"


def is_utf8(text: str) -> bool:
    """Return whether a text can be sent as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
