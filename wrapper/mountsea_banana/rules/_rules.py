"""The rules that the vendor states only in prose.

The spec defines the fields and their types. Only its descriptions state which values can be
combined: a resolution, for example, needs certain models. Each such rule is a function here, next
to the sentence it comes from; `_models.py` has the models. The contract states the same rules as
JSON Schema, written independently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from mountsea_banana._shared.text import shown

from . import _models
from ._fields import HTTP_WITH_HOST, Body, image_urls, is_number

DEFAULT_MODEL = "nano-banana-fast"
RESOLUTION_MODELS = _models.models_with("resolution", _models.Resolution)
WIDE_RATIOS = tuple(_models.literals(_models.WideRatio))
WIDE_RATIO_MODELS = _models.models_with("aspect_ratio", _models.WideRatio)

Fault = tuple[str, str, str]
"""The field at fault, the problem and the hint, as in a Violation."""


@frozen
class Rule:
    """A rule that the vendor states in prose."""

    id: str
    sentence: str
    """The vendor's own words, as they appear in the spec."""
    faults: Callable[[Body], Iterator[Fault]]
    """Yields each fault of a request body that violates the rule."""


def _rule(id: str, sentence: str) -> Callable[[Callable[[Body], Iterator[Fault]]], Rule]:  # noqa: A002
    return lambda faults: Rule(id, sentence, faults)


@_rule("edit-needs-image-urls", "If the `action` is `edit`, this parameter is required.")
def _edit_needs_image_urls(body: Body) -> Iterator[Fault]:
    if body.get("action") == "edit" and body.get("image_urls", []) == []:
        yield (
            "image_urls",
            "is required for an edit",
            "pass the http(s) URL of at least one image",
        )


@_rule(
    "resolution-needs-pro-or-2",
    "The resolution of the image, only valid when model is nano-banana-pro or nano-banana-2",
)
def _resolution_needs_pro_or_2(body: Body) -> Iterator[Fault]:
    if "resolution" in body and body.get("model", DEFAULT_MODEL) not in RESOLUTION_MODELS:
        yield (
            "resolution",
            f"works only with {' and '.join(RESOLUTION_MODELS)}, but the model is {_model(body)}",
            "choose one of those models, or omit the resolution",
        )


@_rule(
    "wide-ratio-needs-2",
    "nano-banana-2 support all aspect ratios, other models only support 21:9, 1:1, 4:3, 3:2, 2:3, "
    "5:4, 4:5, 3:4, 16:9, 9:16",
)
def _wide_ratio_needs_2(body: Body) -> Iterator[Fault]:
    ratio = body.get("aspect_ratio")
    if ratio in WIDE_RATIOS and body.get("model", DEFAULT_MODEL) not in WIDE_RATIO_MODELS:
        yield (
            "aspect_ratio",
            f"{ratio} works only with {' and '.join(WIDE_RATIO_MODELS)}, but the model is "
            f"{_model(body)}",
            "choose that model, or another ratio",
        )


@_rule("one-image-only", "only support generate 1 image, default is 1")
def _one_image_only(body: Body) -> Iterator[Fault]:
    count = body.get("num_images")
    if is_number(count) and count != 1:
        yield (
            "num_images",
            f"is {shown(count)}, but a request generates exactly one image",
            "omit it, and send one request per image",
        )


@_rule("image-url-is-http", "It can be a accessible http or https url")
def _image_url_is_http(body: Body) -> Iterator[Fault]:
    for field, url in image_urls(body):
        if isinstance(url, str) and not HTTP_WITH_HOST.match(url):
            yield (
                field,
                f"is {shown(url)}, but the API takes only http(s) URLs with a host",
                "upload a local file to a web server, and pass its URL",
            )


RULES = (
    _edit_needs_image_urls,
    _resolution_needs_pro_or_2,
    _wide_ratio_needs_2,
    _one_image_only,
    _image_url_is_http,
)


def _model(body: Body) -> str:
    return shown(body["model"]) if "model" in body else f"{DEFAULT_MODEL} (the default)"
