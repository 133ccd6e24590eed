"""The mock's images: PNGs in the requested aspect ratio and resolution that show the prompt."""

from __future__ import annotations

import hashlib
import io
import textwrap
from collections.abc import Mapping
from typing import Any

LONG_SIDES = {"1K": 1024, "2K": 2048, "4K": 4096}


def size(request: Mapping[str, Any]) -> tuple[int, int]:
    """Return the width and height in pixels.

    The ratio is exact, so the longer side may be a few pixels shorter than the resolution.
    """
    width, height = (int(part) for part in request.get("aspect_ratio", "1:1").split(":"))
    unit = LONG_SIDES[request.get("resolution", "1K")] // max(width, height)
    return width * unit, height * unit


def draw(request: Mapping[str, Any], seed: str) -> bytes:
    """Return the PNG for a request. `seed` determines its colour."""
    # Importing Pillow takes longer than starting the server.
    from PIL import Image, ImageColor, ImageDraw, ImageFont

    width, height = size(request)
    hue = hashlib.sha256(seed.encode()).digest()[0] * 360 // 256
    # A palette from the background colour to white needs one byte per pixel instead of three,
    # which takes a third of the time.
    image = Image.new("L", (width, height))
    canvas = ImageDraw.Draw(image)
    text_size = max(12, int((width * height) ** 0.5 / 18))
    font = ImageFont.load_default(text_size)
    margin = text_size // 2
    columns = max(4, int((width - 2 * margin) / (text_size * 0.55)))
    rows = max(1, int((height - 3 * margin) / (text_size * 1.3)) - 1)
    prompt = str(request.get("prompt", ""))[:2000].encode("ascii", "replace").decode()
    lines = textwrap.wrap(prompt, columns, max_lines=rows, placeholder=" ...")
    canvas.multiline_text((margin, margin), "\n".join(lines), fill=255, font=font)
    caption = " · ".join(
        str(request[name]) for name in ("action", "model", "aspect_ratio") if name in request
    )
    small = ImageFont.load_default(max(10, text_size // 2))
    canvas.text((margin, height - margin), caption, fill=176, font=small, anchor="ls")
    background = ImageColor.getrgb(f"hsl({hue}, 55%, 32%)")
    image.putpalette(
        [low + (255 - low) * step // 255 for step in range(256) for low in background[:3]]
    )
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
