"""The rules for models, ratios and resolutions as types: an invalid literal call is a type error.

Source: the descriptions of `aspect_ratio`, `model` and `resolution` in the vendor's NanoImageDto.
"""

from __future__ import annotations

from typing import Literal, NoReturn, Required, TypedDict, final

StandardRatio = Literal["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"]
WideRatio = Literal["1:4", "4:1", "1:8", "8:1"]
AspectRatio = StandardRatio | WideRatio
"""The ratio of an image's width to its height."""
Model = Literal["nano-banana-fast", "nano-banana-pro", "nano-banana-2"]
"""A model's name."""
Resolution = Literal["1K", "2K", "4K"]
"""The resolution of an image."""


@final
class ResolutionNeedsProOr2:
    """No value has this type: only nano-banana-pro and nano-banana-2 support a resolution."""

    def __new__(cls) -> NoReturn:
        raise TypeError(cls.__doc__)


@final
class WideRatioNeeds2:
    """No value has this type: only nano-banana-2 supports the ratios 1:4, 4:1, 1:8 and 8:1."""

    def __new__(cls) -> NoReturn:
        raise TypeError(cls.__doc__)


class FastOptions(TypedDict, total=False):
    """The options of nano-banana-fast, the default model: no resolution, no wide ratio."""

    model: Literal["nano-banana-fast"] | None
    """The model; None for the default."""
    aspect_ratio: StandardRatio | None
    """The ratio; None for the server's default."""
    resolution: None
    """Not available."""


class ProOptions(TypedDict, total=False):
    """The options of nano-banana-pro: any resolution, no wide ratio."""

    model: Required[Literal["nano-banana-pro"]]
    """The model."""
    aspect_ratio: StandardRatio | None
    """The ratio; None for the server's default."""
    resolution: Resolution | None
    """The resolution; None for the server's default."""


class Nano2Options(TypedDict, total=False):
    """The options of nano-banana-2: any resolution, any ratio."""

    model: Required[Literal["nano-banana-2"]]
    """The model."""
    aspect_ratio: AspectRatio | None
    """The ratio; None for the server's default."""
    resolution: Resolution | None
    """The resolution; None for the server's default."""
