"""Image formats, recognized by their first bytes."""

from __future__ import annotations

import re

from attrs import field, frozen

# The first bytes that each format's specification prescribes.
_FORMATS = {
    ".png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    ".jpg": re.compile(rb"\xff\xd8\xff"),
    ".webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    ".gif": re.compile(rb"GIF8[79]a"),
    ".avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
}
SUFFIXES = tuple(_FORMATS)


@frozen
class Image:
    """The bytes of an image, and the suffix of its file."""

    content: bytes = field(repr=False)
    suffix: str


def suffix_of(content: bytes) -> str | None:
    """Return the file suffix of an image, such as `.png`; None if `content` is not an image."""
    return next((suffix for suffix, magic in _FORMATS.items() if magic.match(content)), None)
