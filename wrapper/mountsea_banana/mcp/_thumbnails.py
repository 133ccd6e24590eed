"""Small versions of images, within the limits of clients."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

SIDE = 768
"""Pixels of the longer side. More would cost an agent more tokens than it can see details."""
MAX_BYTES = 500_000
"""The size in bytes. Some clients reject a result of 1 MB, and base64 adds a third."""

MAX_PIXELS = 50_000_000
"""The pixels of an image that is decoded. A small file can contain so many that memory runs out."""


def thumbnail(file: Path) -> bytes | None:
    """Return an image as a small JPEG; None if it cannot be read, or is too large."""
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (SIDE, SIDE))  # decodes a JPEG at a fraction of its size
            image.thumbnail((SIDE, SIDE))
            small = image.convert("RGB")
    except Exception:  # Pillow raises many kinds for a damaged file
        return None
    content = _encode(small, 85)
    return content if len(content) <= MAX_BYTES else _encode(small, 40)


def _encode(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()
