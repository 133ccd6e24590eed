"""The rules of models, ratios and resolutions as types: an illegal literal call is a type error.

Source: the descriptions of `aspect_ratio`, `model` and `resolution` in the vendor's NanoImageDto.
"""

from __future__ import annotations

from typing import Literal, Required, TypedDict

StandardRatio = Literal["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"]
WideRatio = Literal["1:4", "4:1", "1:8", "8:1"]
AspectRatio = StandardRatio | WideRatio
Model = Literal["nano-banana-fast", "nano-banana-pro", "nano-banana-2"]
Resolution = Literal["1K", "2K", "4K"]


class FastOptions(TypedDict, total=False):
    """What stands beside nano-banana-fast, the default: no resolution, no wide ratio."""

    model: Literal["nano-banana-fast"] | None
    aspect_ratio: StandardRatio | None
    resolution: None


class ProOptions(TypedDict, total=False):
    """What stands beside nano-banana-pro: any resolution, no wide ratio."""

    model: Required[Literal["nano-banana-pro"]]
    aspect_ratio: StandardRatio | None
    resolution: Resolution | None


class Nano2Options(TypedDict, total=False):
    """What stands beside nano-banana-2: any resolution, any ratio."""

    model: Required[Literal["nano-banana-2"]]
    aspect_ratio: AspectRatio | None
    resolution: Resolution | None
