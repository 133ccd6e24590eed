"""What each model supports: the table that the types, the checks and the help follow.

Each class in `TABLE` is a row: its models, and the ratios and resolutions that they support. To add
a model that supports the same as others, add its name to their row.

Source: the descriptions of `aspect_ratio`, `model` and `resolution` in the vendor's NanoImageDto.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn, Required, TypedDict, final, get_args, get_type_hints

StandardRatio = Literal["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"]
WideRatio = Literal["1:4", "4:1", "1:8", "8:1"]
AspectRatio = Literal[StandardRatio, WideRatio]
"""The ratio of an image's width to its height."""
Resolution = Literal["1K", "2K", "4K"]
"""The resolution of an image."""

FastModel = Literal["nano-banana-fast"]
ProModel = Literal["nano-banana-pro"]
Nano2Model = Literal["nano-banana-2"]
Model = Literal[FastModel, ProModel, Nano2Model]
"""A model's name."""


@final
class ResolutionNeedsProOr2:
    """No value has this type, which is that of a resolution if the model supports none."""

    def __new__(cls) -> NoReturn:
        raise TypeError(cls.__doc__)


@final
class WideRatioNeeds2:
    """No value has this type, which is that of a wide ratio if the model supports none."""

    def __new__(cls) -> NoReturn:
        raise TypeError(cls.__doc__)


class FastOptions(TypedDict, total=False):
    """The options of the default model, and others with no resolution and no wide ratio."""

    model: FastModel | None
    """The model; None for the default."""
    aspect_ratio: StandardRatio | WideRatioNeeds2 | None
    """The ratio; None for the server's default."""
    resolution: ResolutionNeedsProOr2 | None
    """Not available."""


class ProOptions(TypedDict, total=False):
    """The options of models with any resolution, but no wide ratio."""

    model: Required[ProModel]
    """The model."""
    aspect_ratio: StandardRatio | WideRatioNeeds2 | None
    """The ratio; None for the server's default."""
    resolution: Resolution | None
    """The resolution; None for the server's default."""


class Nano2Options(TypedDict, total=False):
    """The options of models with any resolution and any ratio."""

    model: Required[Nano2Model]
    """The model."""
    aspect_ratio: AspectRatio | None
    """The ratio; None for the server's default."""
    resolution: Resolution | None
    """The resolution; None for the server's default."""


TABLE = (FastOptions, ProOptions, Nano2Options)


def models_with(field: str, values: Any) -> tuple[str, ...]:
    """Return the models that support each of the `values`, a type of literals, of a field."""
    rows = [get_type_hints(options) for options in TABLE]
    return tuple(
        model
        for row in rows
        if {*literals(values)} <= {*literals(row[field])}
        for model in literals(row["model"])
    )


def literals(hint: Any) -> list[str]:
    """Return the strings that a type allows, in their order."""
    if isinstance(hint, str):
        return [hint]
    return [value for part in get_args(hint) for value in literals(part)]
