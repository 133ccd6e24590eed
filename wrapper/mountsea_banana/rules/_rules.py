"""The rules of a request, checked before anything is sent.

The vendor's spec gives the fields and their types; that a resolution needs one model and a wide
ratio another stands only in its prose. Each such rule is a function here, beside the sentence that
it comes from. The contract tests hold the same rules as JSON Schema, written independently.
"""

from __future__ import annotations

import ipaddress
import json
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

DEFAULT_MODEL = "nano-banana-fast"
RESOLUTION_MODELS = ("nano-banana-pro", "nano-banana-2")
WIDE_RATIO_MODELS = ("nano-banana-2",)
WIDE_RATIOS = ("1:4", "4:1", "1:8", "8:1")

Body = Mapping[str, object]

_UNSENDABLE = object()

# RFC 3986, appendix A, with the authority that an http address has; an IPv6 host is checked apart.
_CHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_HOST = rf"(?:\[(?:(?P<ipv6>[0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.(?:{_CHAR}|:)+)\]|{_CHAR}*)"
_URI = (  # compiled at the first use: an import does without its 2 ms
    rf"[A-Za-z][A-Za-z0-9+\-.]*:"
    rf"(?://(?:(?:{_CHAR}|:)*@)?{_HOST}(?::[0-9]*)?(?:/(?:{_CHAR}|[:@/])*)?|(?!//)(?:{_CHAR}|[:@/])*)"
    rf"(?:\?(?:{_CHAR}|[:@/?])*)?(?:\#(?:{_CHAR}|[:@/?])*)?"
)
_HTTP_WITH_HOST = re.compile(r"https?://(?:[^/?#@]*@)?[^/?#@:]", re.IGNORECASE)


@frozen
class Violation:
    """One broken rule of a request."""

    rule: str
    """The rule's id, such as `edit-needs-image-urls`, or `required`, `type`, `value`, `uri`."""
    field: str
    """The field at fault, such as `image_urls[1]`; empty where the whole request is."""
    message: str
    """What is wrong and what to do."""


@frozen
class Rule:
    """A rule that the vendor states in prose."""

    id: str
    sentence: str
    """The vendor's own words, as they stand in the spec."""
    broken_by: Callable[[Body], Iterator[tuple[str, str]]]
    """Give each field of a body that breaks the rule, with what to do."""


def _rule(id: str, sentence: str) -> Callable[[Callable[[Body], Iterator[tuple[str, str]]]], Rule]:  # noqa: A002
    return lambda broken_by: Rule(id, sentence, broken_by)


@_rule("edit-needs-image-urls", "If the `action` is `edit`, this parameter is required.")
def _edit_needs_image_urls(body: Body) -> Iterator[tuple[str, str]]:
    if body.get("action") == "edit" and body.get("image_urls", []) == []:
        yield (
            "image_urls",
            "an edit needs image_urls: give the http(s) address of at least one picture",
        )


@_rule(
    "resolution-needs-pro-or-2",
    "The resolution of the image, only valid when model is nano-banana-pro or nano-banana-2",
)
def _resolution_needs_pro_or_2(body: Body) -> Iterator[tuple[str, str]]:
    if "resolution" in body and body.get("model", DEFAULT_MODEL) not in RESOLUTION_MODELS:
        yield (
            "resolution",
            f"resolution works only with {' and '.join(RESOLUTION_MODELS)}, and the model is "
            f"{_model(body)}: choose one of those, or leave resolution out",
        )


@_rule(
    "wide-ratio-needs-2",
    "nano-banana-2 support all aspect ratios, other models only support 21:9, 1:1, 4:3, 3:2, 2:3, "
    "5:4, 4:5, 3:4, 16:9, 9:16",
)
def _wide_ratio_needs_2(body: Body) -> Iterator[tuple[str, str]]:
    ratio = body.get("aspect_ratio")
    if ratio in WIDE_RATIOS and body.get("model", DEFAULT_MODEL) not in WIDE_RATIO_MODELS:
        yield (
            "aspect_ratio",
            f"aspect_ratio {ratio} works only with {' and '.join(WIDE_RATIO_MODELS)}, and the "
            f"model is {_model(body)}: choose that model, or another ratio",
        )


@_rule("one-image-only", "only support generate 1 image, default is 1")
def _one_image_only(body: Body) -> Iterator[tuple[str, str]]:
    count = body.get("num_images")
    if _is_number(count) and count != 1:
        yield (
            "num_images",
            f"num_images is {_shown(count)}, and one request makes one image: leave it out, and "
            "send a request for each picture",
        )


@_rule("image-url-is-http", "It can be a accessible http or https url")
def _image_url_is_http(body: Body) -> Iterator[tuple[str, str]]:
    for field, url in _image_urls(body):
        if isinstance(url, str) and not _HTTP_WITH_HOST.match(url):
            yield (
                field,
                f"{field} is {_shown(url)}: give an address that starts with http:// or https:// "
                "and names a host; a local file has to be put on the web first",
            )


RULES = (
    _edit_needs_image_urls,
    _resolution_needs_pro_or_2,
    _wide_ratio_needs_2,
    _one_image_only,
    _image_url_is_http,
)


def check_request(request: NanoImageDto | Mapping[str, object]) -> list[Violation]:
    """Return every rule that `request` breaks, the spec's own and those in its prose.

    `request` is a `mountsea_api.models.NanoImageDto` or a mapping of the fields as they are sent.
    Nothing is sent, and nothing is raised, whatever it holds. Fields that the spec does not name
    are allowed.
    """
    return judge(request)[1]


def judge(request: object) -> tuple[dict[str, object], list[Violation]]:
    """Return the JSON body of `request` and every rule that it breaks."""
    body, violations = _as_json(request)
    unreadable = {violation.field for violation in violations}
    if "" not in unreadable:
        violations += [found for found in _check_fields(body) if found.field not in unreadable]
        for rule in RULES:
            violations += [Violation(rule.id, *found) for found in rule.broken_by(body)]
    return body, violations


def _as_json(request: object) -> tuple[dict[str, object], list[Violation]]:
    """Return what would be sent, and a violation for each field that JSON cannot carry."""
    body: dict[str, object] = {}
    violations: list[Violation] = []
    try:
        fields = _fields(request)
    except Exception:  # whatever was passed in, the answer is the same
        message = f"a request is a NanoImageDto or a mapping of fields, not {_shown(request)}"
        return body, [Violation("type", "", message)]
    for name, value in fields.items():
        if not isinstance(name, str):
            message = f"a field's name is text, not {_shown(name)}"
            violations.append(Violation("type", _shown(name), message))
            continue
        try:
            # UTF-8 refuses lone surrogates, which JSON's escapes would let through.
            encoded = json.dumps([name, value], allow_nan=False, ensure_ascii=False).encode()
            body[name] = json.loads(encoded)[1]
        except (TypeError, ValueError, RecursionError, AttributeError) as error:
            message = f"{_shown(name)} cannot be sent as JSON in UTF-8: {error}"
            violations.append(Violation("type", name, message))
            body[name] = _UNSENDABLE
    return body, violations


def _fields(request: object) -> Mapping[object, object]:
    from mountsea_api.models import NanoImageDto

    if isinstance(request, NanoImageDto):
        return request.to_dict()  # type: ignore[return-value]
    if isinstance(request, Mapping):
        return dict(request)
    raise TypeError


def _check_fields(body: Body) -> Iterator[Violation]:
    """Check what the spec states as types, enums and formats."""
    for name in ("prompt", "action"):
        if name not in body:
            yield Violation("required", name, f"{name} is missing, and every request needs one")
    if not isinstance(body.get("prompt", ""), str):
        yield Violation("type", "prompt", f"prompt is text, not {_shown(body['prompt'])}")
    for name, values in _enums().items():
        yield from _check_enum(body, name, values)
    if "num_images" in body and not _is_number(body["num_images"]):
        shown = _shown(body["num_images"])
        yield Violation("type", "num_images", f"num_images is a number, not {shown}: leave it out")
    if not isinstance(body.get("image_urls", []), list):
        shown = _shown(body["image_urls"])
        yield Violation("type", "image_urls", f"image_urls is a list of addresses, not {shown}")
    for field, url in _image_urls(body):
        if not isinstance(url, str):
            yield Violation("type", field, f"{field} is an address as text, not {_shown(url)}")
        elif not _is_uri(url):
            message = (
                f"{field} is no URI: {_shown(url)}; percent-encode blanks and what is not ASCII"
            )
            yield Violation("uri", field, message)


def _check_enum(body: Body, name: str, values: Iterable[str]) -> Iterator[Violation]:
    value = body.get(name)
    if name in body and not (isinstance(value, str) and value in values):
        known = ", ".join(sorted(values))
        rule = "value" if isinstance(value, str) else "type"
        yield Violation(rule, name, f"{name} is {_shown(value)}; the API knows {known}")


def _image_urls(body: Body) -> Iterator[tuple[str, object]]:
    urls = body.get("image_urls")
    if isinstance(urls, list):
        for index, url in enumerate(urls):
            yield f"image_urls[{index}]", url


def _is_uri(text: str) -> bool:
    uri = re.fullmatch(_URI, text)
    if uri is None or uri["ipv6"] is None:
        return uri is not None
    try:
        ipaddress.IPv6Address(uri["ipv6"])
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _model(body: Body) -> str:
    return _shown(body["model"]) if "model" in body else f"{DEFAULT_MODEL}, the default"


def _shown(value: object) -> str:
    return reprlib.repr(value)


def _enums() -> Mapping[str, Iterable[str]]:
    # The generated models take longer to import than the rest of this package.
    from mountsea_api.models.nano_image_dto_action import NANO_IMAGE_DTO_ACTION_VALUES
    from mountsea_api.models.nano_image_dto_aspect_ratio import NANO_IMAGE_DTO_ASPECT_RATIO_VALUES
    from mountsea_api.models.nano_image_dto_model import NANO_IMAGE_DTO_MODEL_VALUES
    from mountsea_api.models.nano_image_dto_resolution import NANO_IMAGE_DTO_RESOLUTION_VALUES

    return {
        "action": NANO_IMAGE_DTO_ACTION_VALUES,
        "model": NANO_IMAGE_DTO_MODEL_VALUES,
        "aspect_ratio": NANO_IMAGE_DTO_ASPECT_RATIO_VALUES,
        "resolution": NANO_IMAGE_DTO_RESOLUTION_VALUES,
    }
