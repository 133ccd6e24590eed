"""Checking the images of an edit before you pay for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httpx

from mountsea_banana.rules._violations import Violation

from ._errors import describe
from ._exchange import Failure, RawResponse, TooLarge
from ._images import suffix_of
from ._steps import Download, DownloadAll, Flow

# The spec of image_urls: "The image size should not exceed 10MB for each".
MAX_BYTES = 10 * 1024 * 1024
TIMEOUT = 15.0
"""Seconds for all HEAD requests together, and again for all GET requests."""

_FIRST_BYTES = {"Range": "bytes=0-1023"}


def check_images(urls: Sequence[str]) -> Flow[list[Violation]]:
    """Return a violation for each image that is unreachable, not an image, or larger than 10 MB.

    All URLs are requested side by side with HEAD, and those for which that is inconclusive with a
    GET of the first bytes: many servers reject HEAD, or respond to it without a type or a size.
    """
    heads = yield DownloadAll([Download("HEAD", url, {}, MAX_BYTES, TIMEOUT) for url in urls])
    unclear = [index for index, head in enumerate(heads) if _fault(head, has_body=False)]
    if not unclear:
        return []
    gets = yield DownloadAll(
        [Download("GET", urls[index], _FIRST_BYTES, MAX_BYTES, TIMEOUT) for index in unclear]
    )
    violations = []
    for index, get in zip(unclear, gets, strict=True):
        if fault := _fault(get, has_body=True):
            rule, problem, hint = fault
            problem = f"({urls[index][:200]!r}) {problem}"
            violations.append(Violation(rule, f"image_urls[{index}]", problem, hint))
    return violations


def _fault(outcome: RawResponse | Failure, *, has_body: bool) -> tuple[str, str, str] | None:
    """Return the violated rule, the problem and the hint; None if the image is usable."""
    public = "pass a publicly accessible URL"
    if isinstance(outcome, Failure):
        problem = f"could not be requested ({describe(outcome.error)})"
        return "image-is-reachable", problem, public
    if not 200 <= outcome.status_code < 300:
        return "image-is-reachable", f"returned the status {outcome.status_code}", public
    size = _size(outcome.headers)
    if isinstance(outcome.fault, TooLarge) or (size is not None and size > MAX_BYTES):
        shown = f" ({size} bytes)" if size else ""
        return "image-at-most-10-mb", f"is larger than 10 MB{shown}", "make it smaller"
    kind = outcome.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_image = kind.startswith("image/")
    if has_body:
        # A format of another kind may be an image as well, but no image begins like HTML or JSON.
        is_text = outcome.body[:1] in (b"", b"<", b"{")
        is_image = bool(suffix_of(outcome.body)) or (is_image and not is_text)
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
