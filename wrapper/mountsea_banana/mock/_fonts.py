"""Fonts: an installed font for every character."""

from __future__ import annotations

import logging
import os
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

from attrs import frozen
from PIL import ImageFont

FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)
# Fonts with these words in their names are tried last.
UNUSUAL = ("bold", "italic", "oblique", "light", "condensed", "narrow", "mono", "serif", "resort")
# The emoji fonts of Linux and macOS contain pictures, of one of these sizes.
PICTURE_SIZES = (109, 160)
NO_CHARACTER = "\U0010fffe"

_log = logging.getLogger("mountsea_banana.mock")


@frozen
class Font:
    """A font file, or Pillow's own font if the path is empty. It has little more than ASCII."""

    path: str = ""

    @property
    def is_emoji(self) -> bool:
        """Whether the font contains coloured pictures."""
        return "emoji" in os.path.basename(self.path).lower()  # noqa: PTH119 - this is called often

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """Return the font at a size. Raises OSError if the file is unusable or lacks the size."""
        return _load(self.path, size)

    def pictures(self) -> ImageFont.FreeTypeFont:
        """Return an emoji font at the size of its pictures, or a large one if it has any size."""
        try:
            return self.at(PICTURE_SIZES[0])
        except OSError:
            return self.at(PICTURE_SIZES[1])

    def has(self, character: str) -> bool:
        """Return whether the font can draw a character."""
        return _has(self, character)


@frozen
class Run:
    """Consecutive characters in one font."""

    font: Font
    text: str


def usual_font(text: str) -> Font:
    """Return the first font that has all characters of a text, emoji aside, or Pillow's own."""
    wanted = [each for each in dict.fromkeys(text) if not _joins(each) and not _is_emoji(each)]
    return next((font for font in fonts() if all(map(font.has, wanted))), Font())


def split(text: str, usual: Font) -> list[Run]:
    """Split a text into runs, in the usual font wherever it has the characters."""
    runs: list[Run] = []
    for character in text:
        last = runs[-1].font if runs else usual
        if character == " ":
            font = usual if last.is_emoji else last
        else:
            font = last if _joins(character) else _font_of(character, usual)
        if runs and font == last:
            runs[-1] = Run(font, runs[-1].text + character)
        else:
            runs.append(Run(font, character))
    return runs


@cache
def fonts() -> list[Font]:
    """Return Pillow's own font and all installed ones, the most usual first."""
    files = [
        Path(folder, name)
        for top in FOLDERS
        for folder, _, names in os.walk(os.path.expanduser(top))  # noqa: PTH111 - home may be unset
        for name in names
        if name.lower().endswith((".ttf", ".ttc", ".otf"))
    ]
    return [Font(), *(Font(str(file)) for file in sorted(files, key=_unusualness))]


def _unusualness(file: Path) -> tuple[object, ...]:
    name = file.stem.lower()
    # A short name is that of a family's main font, such as NotoSans before NotoSansAdlam.
    return sum(word in name for word in UNUSUAL), "sans" not in name, len(name), str(file)


def _joins(character: str) -> bool:
    """Return whether a character belongs to the one before it, as accents and joiners do."""
    return unicodedata.category(character)[0] in "CMZ"


def _is_emoji(character: str) -> bool:
    return "\U0001f000" <= character <= "\U0001faff"


@lru_cache(maxsize=10_000)
def _font_of(character: str, usual: Font) -> Font:
    is_emoji = _is_emoji(character)
    ranked = sorted([usual, *fonts()], key=lambda font: font.is_emoji != is_emoji)
    for font in ranked:
        if font.has(character):
            return font
    _report_missing(_package(character))
    return usual


def _package(character: str) -> str:
    """Return the Debian package whose fonts have a character."""
    if _is_emoji(character):
        return "fonts-noto-color-emoji"
    is_cjk = unicodedata.east_asian_width(character) in "WF"
    return "fonts-noto-cjk" if is_cjk else "fonts-noto-core"


@cache  # so that it is reported once
def _report_missing(package: str) -> None:
    _log.warning(
        "mock: images show boxes for some characters, because no installed font has them; "
        "on Debian and Ubuntu, install the package %s",
        package,
    )


@lru_cache(maxsize=50_000)
def _has(font: Font, character: str) -> bool:
    try:
        loaded = font.pictures() if font.is_emoji else font.at(24)
    except OSError:
        return False
    # A font draws the same box for all characters that it lacks.
    return _glyph(loaded, character) != _glyph(loaded, NO_CHARACTER)


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> object:
    mask = cast(Any, font.getmask(character))
    return mask.size, bytes(mask)


@lru_cache(maxsize=32)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    if path:
        return ImageFont.truetype(path, size)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 - for the type checker
    return font
