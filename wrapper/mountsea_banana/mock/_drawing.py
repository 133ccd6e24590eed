"""Drawing: PNGs that show a prompt, and the images that it edits."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice

from attrs import evolve, frozen
from PIL import Image, ImageColor, ImageDraw

from mountsea_banana._shared.text import encodable

from ._fonts import Run, split, usual_font

# A pixel is one byte: the number of a colour in the palette that all drawings share, so that one
# can be pasted into another. Each hue has shades from its background to white; emoji use the cube.
HUES = 16
SHADES = 8
CUBE = (0, 64, 128, 191, 255)
WHITE, GREY = SHADES - 1, SHADES - 3
# Chinese and Japanese are written without spaces, so a line can break at each character.
_WIDE = r"\u2e80-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_WORD = re.compile(rf"\s*(?:[{_WIDE}]|[^\s{_WIDE}]+)")


@frozen
class Drawing:
    """What an image shows."""

    width: int
    height: int
    hue: int
    prompt: str
    caption: str
    sources: tuple[Drawing, ...] = ()
    """The images that it edits."""

    def fit(self, width: int, height: int) -> Drawing:
        """Return the drawing in the largest size that fits into a width and a height."""
        scale = min(width / self.width, height / self.height)
        return evolve(
            self, width=max(1, int(self.width * scale)), height=max(1, int(self.height * scale))
        )


@frozen
class _Area:
    """A rectangle of an image."""

    x: int
    y: int
    width: int
    height: int

    def split(self, count: int) -> list[_Area]:
        """Return equal parts of the area, side by side or one below the other."""
        if self.width >= self.height:
            width = self.width // count
            return [evolve(self, x=self.x + i * width, width=width) for i in range(count)]
        height = self.height // count
        return [evolve(self, y=self.y + i * height, height=height) for i in range(count)]


def png(drawing: Drawing) -> bytes:
    """Return a drawing as a PNG."""
    image = _draw(drawing)
    image.putpalette(_palette())
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _palette() -> list[int]:
    shades = [
        low + (255 - low) * shade // (SHADES - 1)
        for hue in range(HUES)
        for shade in range(SHADES)
        for low in ImageColor.getrgb(f"hsl({hue * 360 // HUES}, 55%, 32%)")
    ]
    cube = [
        level for red in CUBE for green in CUBE for blue in CUBE for level in (red, green, blue)
    ]
    return shades + cube


def _draw(drawing: Drawing) -> Image.Image:
    width, height = drawing.width, drawing.height
    background = drawing.hue * SHADES
    image = Image.new("L", (width, height), background)
    size = max(6, int((width * height) ** 0.5 / 18))
    margin = size // 2
    area = _Area(margin, margin, width - 2 * margin, height - 2 * margin - size)
    if drawing.sources:
        area, rest = area.split(2)
        for source, part in zip(drawing.sources, rest.split(len(drawing.sources)), strict=True):
            picture = _draw(source.fit(part.width - margin, part.height - margin))
            image.paste(picture, (part.x + margin, part.y + margin))
    _write(image, drawing.prompt, area, size, background + WHITE)
    bottom = _Area(margin, height - margin - size // 2, width - 2 * margin, size // 2)
    _write(image, drawing.caption, bottom, size // 2, background + GREY)
    return image


def _write(image: Image.Image, text: str, area: _Area, size: int, colour: int) -> None:
    """Write as much of a text as fits into an area, from the right if its script is."""
    text = " ".join(encodable(text).split())
    usual = usual_font(text)

    def measure(part: str) -> float:
        return sum(_length(run, size) for run in split(part, usual))

    rows = max(1, int(area.height / size / 1.3))
    lines = list(islice(_lines(text, area.width, measure), rows + 1))
    if len(lines) > rows:
        lines[rows - 1 :] = [f"{lines[rows - 1][:-2]}…"]
    is_rtl = _is_rtl(text)
    for row, line in enumerate(lines):
        runs = split(line, usual)
        x = area.x + (area.width - measure(line) if is_rtl else 0)
        y = area.y + size + row * size * 1.3
        for run in reversed(runs) if is_rtl else runs:
            _write_run(image, run, (x, y), size, colour)
            x += _length(run, size)


def _lines(text: str, width: float, measure: Callable[[str], float]) -> Iterator[str]:
    """Yield a text in lines that are no wider than a width."""
    line, used = "", 0.0
    for part in _parts(text, width, measure):
        length = measure(part)
        if line and used + length > width:
            yield line
            line, used = part.lstrip(), length
        else:
            line, used = line + part, used + length
    yield line


def _parts(text: str, width: float, measure: Callable[[str], float]) -> Iterator[str]:
    """Yield the parts of a text between which a line may break: words, unless they are too long."""
    for word in _WORD.findall(text):
        if measure(word) <= width:
            yield word
        else:
            yield from word


def _is_rtl(text: str) -> bool:
    """Return whether the first letter belongs to a script that is written from right to left."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((each for each in directions if each in ("L", "R", "AL")), "L") != "L"


def _length(run: Run, size: int) -> float:
    if not run.font.is_emoji:
        return run.font.at(size).getlength(run.text)
    pictures = run.font.pictures()
    return pictures.getlength(run.text) * size / pictures.size


def _write_run(
    image: Image.Image, run: Run, position: tuple[float, float], size: int, colour: int
) -> None:
    """Write a run whose baseline starts at a position."""
    if run.font.is_emoji:
        _paste_emoji(image, run, position, size)
    else:
        font = run.font.at(size)
        ImageDraw.Draw(image).text(position, run.text, fill=colour, font=font, anchor="ls")


def _paste_emoji(image: Image.Image, run: Run, position: tuple[float, float], size: int) -> None:
    font = run.font.pictures()
    scale = size / font.size
    ascent, descent = font.getmetrics()
    emoji = Image.new("RGBA", (int(font.getlength(run.text)) + 1, ascent + descent))
    ImageDraw.Draw(emoji).text((0, 0), run.text, font=font, embedded_color=True)
    emoji = emoji.resize((int(emoji.width * scale) + 1, int(emoji.height * scale) + 1))
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    colours = emoji.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    is_opaque = emoji.getchannel("A").point([0] * 128 + [255] * 128)
    corner = int(position[0]), int(position[1] - ascent * scale)
    image.paste(Image.frombytes("L", emoji.size, colours.tobytes()), corner, is_opaque)
