"""Are the pictures of an edit there, before it is paid for: decisions without I/O."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence

import httpx
from attrs import frozen

from mountsea_banana.rules._rules import Violation

from . import _downloads as _pictures
from ._exchange import Outcome, Reply, TooLarge
from ._responses import describe

# "The image size should not exceed 10MB for each", says the spec of image_urls.
MAX_BYTES = 10 * 1024 * 1024
TIMEOUT = 30.0

_RANGE = {"Range": "bytes=0-1023"}


@frozen
class Ask:
    """One request to whoever holds a picture, without credentials."""

    method: str
    url: str
    headers: Mapping[str, str]


Check = Generator[Ask, Outcome, list[Violation]]


def check(urls: Sequence[str]) -> Check:
    """Ask for each picture by HEAD, or for its first bytes where HEAD does not tell.

    Returns a violation for each that is not reachable, no image, or larger than 10 MB.
    """
    violations = []
    for index, url in enumerate(urls):
        field = f"image_urls[{index}]"
        fault = _fault((yield Ask("HEAD", url, {})), has_body=False)
        if fault:
            # Many servers refuse HEAD, or answer it without a type or a size.
            fault = _fault((yield Ask("GET", url, _RANGE)), has_body=True)
        if fault:
            rule, what = fault
            violations.append(Violation(rule, field, f"{field} is {url[:200]!r}: {what}"))
    return violations


def _fault(outcome: Outcome, *, has_body: bool) -> tuple[str, str] | None:
    """Return the broken rule and what to do, where an answer does not show a fitting picture."""
    if not isinstance(outcome, Reply):
        return (
            "image-is-reachable",
            f"nothing could be fetched from there ({describe(outcome)}): give an address that is "
            "open to everyone",
        )
    if not 200 <= outcome.status_code < 300:
        return (
            "image-is-reachable",
            f"the server answers {outcome.status_code}: give an address that is open to everyone",
        )
    size = _size(outcome.headers)
    if isinstance(outcome.fault, TooLarge) or (size is not None and size > MAX_BYTES):
        shown = f"{size / 2**20:.1f} MB" if size else "more than 10 MB"
        return "image-at-most-10-mb", f"the picture has {shown}, and 10 MB are allowed: shrink it"
    kind = outcome.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_image = _pictures.is_picture(outcome.body) if has_body else kind.startswith("image/")
    if is_image and (has_body or size is not None):
        return None
    return "image-is-an-image", f"what is there is no picture but {kind or 'of no stated type'}"


def _size(headers: httpx.Headers) -> int | None:
    """Return how many bytes the whole has, where the answer says so."""
    total = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("content-range", ""))
    if total:
        return int(total[1])
    length = headers.get("content-length", "")
    return int(length) if re.fullmatch(r"\d{1,15}", length) else None
