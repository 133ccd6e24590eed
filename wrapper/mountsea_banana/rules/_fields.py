"""The requirements that the spec defines for a request's fields: types, values and formats."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping

import attrs

from mountsea_banana._shared.text import shown

from ._violations import Violation

Body = Mapping[str, object]

HTTP_WITH_HOST = re.compile(r"https?://(?:[^/?#@]*@)?[^/?#@:]", re.IGNORECASE)


def _chars(others: str) -> str:
    """Return the pattern of RFC 3986's unreserved, sub-delims, escaped and `others` characters."""
    # Possessive, since what follows is never one of them: a long URL takes a tenth of the time.
    return rf"(?:[A-Za-z0-9\-._~!$&'()*+,;={others}]++|%[0-9A-Fa-f]{{2}})*+"


# RFC 3986, appendix A, with the authority that an http URL has; an IPv6 host is checked separately.
_HOST = rf"(?:\[(?:(?P<ipv6>[0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.(?!\]){_chars(':')})\]|{_chars('')})"
_URI = (
    rf"[A-Za-z][A-Za-z0-9+\-.]*:"
    rf"(?://(?:{_chars(':')}@)?{_HOST}(?::[0-9]*)?(?:/{_chars(':@/')})?|(?!//){_chars(':@/')})"
    rf"(?:\?{_chars(':@/?')})?(?:\#{_chars(':@/?')})?"
)


def check_fields(body: Body) -> Iterator[Violation]:
    """Yield a violation for each missing field, wrong type, invalid value and malformed URI."""
    for name in ("prompt", "action"):
        if name not in body:
            yield Violation("required", name, "is required")
    if not isinstance(body.get("prompt", ""), str):
        yield Violation("type", "prompt", f"must be a string, not {shown(body['prompt'])}")
    for name, values in enums().items():
        if name in body and not _is_one_of(body[name], values):
            rule = "value" if isinstance(body[name], str) else "type"
            allowed = ", ".join(sorted(values))
            yield Violation(rule, name, f"is {shown(body[name])}", f"choose one of {allowed}")
    if "num_images" in body and not is_number(body["num_images"]):
        problem = f"must be a number, not {shown(body['num_images'])}"
        yield Violation("type", "num_images", problem, "omit it")
    if not isinstance(body.get("image_urls", []), list):
        problem = f"must be a list of URLs, not {shown(body['image_urls'])}"
        yield Violation("type", "image_urls", problem)
    for field, url in image_urls(body):
        if not isinstance(url, str):
            yield Violation("type", field, f"must be a URL as a string, not {shown(url)}")
        # Anything else violates a rule of its own, which says what to do about a local file.
        elif HTTP_WITH_HOST.match(url) and not _is_uri(url):
            problem = f"is {shown(url)}, which is not a valid URI"
            yield Violation("uri", field, problem, "percent-encode spaces and non-ASCII characters")


def image_urls(body: Body) -> Iterator[tuple[str, object]]:
    """Yield the name and value of each item of `image_urls`."""
    urls = body.get("image_urls")
    if isinstance(urls, list):
        for index, url in enumerate(urls):
            yield f"image_urls[{index}]", url


def field_names() -> list[str]:
    """Return the names of the fields that the spec has."""
    from mountsea_api.models import NanoImageDto

    return [each.name for each in attrs.fields(NanoImageDto) if each.init]


def is_number(value: object) -> bool:
    """Return whether a value is a number in JSON. Unlike in Python, `true` is not one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_one_of(value: object, values: Collection[str]) -> bool:
    return isinstance(value, str) and value in values


def _is_uri(text: str) -> bool:
    uri = _uri_pattern().fullmatch(text)
    if uri is None or uri["ipv6"] is None:
        return uri is not None
    try:
        ipaddress.IPv6Address(uri["ipv6"])
    except ValueError:
        return False
    return True


@functools.cache
def _uri_pattern() -> re.Pattern[str]:
    return re.compile(_URI)  # on first use, which saves the import 1 ms


@functools.cache
def enums() -> Mapping[str, Collection[str]]:
    """Return the values that the spec allows for each field that has an enum."""
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
