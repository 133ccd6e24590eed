"""Checking the images of an edit before you pay for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httpx

from mountsea_banana.rules._violations import Violation

from ._errors import describe
from ._exchange import RawResponse, TooLarge
from ._images import suffix_of
from ._steps import Download, Flow

# The spec of image_urls: "The image size should not exceed 10MB for each".
MAX_BYTES = 10 * 1024 * 1024
TIMEOUT = 30.0

_FIRST_BYTES = {"Range": "bytes=0-1023"}


def check_images(urls: Sequence[str]) -> Flow[list[Violation]]:
    """Return a violation for each image that is unreachable, not an image, or larger than 10 MB.

    Each URL is requested with HEAD, and with a GET of its first bytes if HEAD is inconclusive.
    """
    violations = []
    for index, url in enumerate(urls):
        outcome = yield Download("HEAD", url, {}, MAX_BYTES, TIMEOUT)
        fault = _fault(outcome, has_body=False)
        if fault:
            # Many servers reject HEAD, or respond to it without a type or a size.
            outcome = yield Download("GET", url, _FIRST_BYTES, MAX_BYTES, TIMEOUT)
            fault = _fault(outcome, has_body=True)
        if fault:
            rule, problem, hint = fault
            problem = f"({url[:200]!r}) {problem}"
            violations.append(Violation(rule, f"image_urls[{index}]", problem, hint))
    return violations


def _fault(outcome: RawResponse | Exception, *, has_body: bool) -> tuple[str, str, str] | None:
    """Return the violated rule, the problem and the hint; None if the image is usable."""
    public = "pass a publicly accessible URL"
    if not isinstance(outcome, RawResponse):
        return "image-is-reachable", f"could not be requested ({describe(outcome)})", public
    if not 200 <= outcome.status_code < 300:
        return "image-is-reachable", f"returned the status {outcome.status_code}", public
    size = _size(outcome.headers)
    if isinstance(outcome.fault, TooLarge) or (size is not None and size > MAX_BYTES):
        shown = f" ({size} bytes)" if size else ""
        return "image-at-most-10-mb", f"is larger than 10 MB{shown}", "make it smaller"
    kind = outcome.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_image = bool(suffix_of(outcome.body)) if has_body else kind.startswith("image/")
    if is_image and (has_body or size is not None):
        return None
    return "image-is-an-image", f"is not an image (content type: {kind or 'none'})", ""


def _size(headers: httpx.Headers) -> int | None:
    """Return the size of the whole image in bytes, if the response states it."""
    total = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("content-range", ""))
    if total:
        return int(total[1])
    length = headers.get("content-length", "")
    return int(length) if re.fullmatch(r"\d{1,15}", length) else None
