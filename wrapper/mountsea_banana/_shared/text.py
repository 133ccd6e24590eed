"""Text: showing values in messages, what UTF-8 can encode, and what shows nothing."""

from __future__ import annotations

import reprlib
import unicodedata

# Control characters, invisible ones that format others, and separators.
_BLANK = ("Cc", "Cf", "Zl", "Zp", "Zs")


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


def encodable(text: str) -> str:
    """Return a text with a question mark for everything that UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def is_blank(text: str) -> bool:
    """Return whether a text shows nothing. Such a prompt is valid for the API, but a mistake."""
    return all(unicodedata.category(character) in _BLANK for character in text)
