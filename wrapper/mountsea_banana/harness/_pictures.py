"""Finds the picture in the result of a task, fetches it and looks at it."""

from __future__ import annotations

import base64
import binascii
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx
from attrs import field, frozen
from PIL import Image, UnidentifiedImageError

from ._verify import Violation

# Real models choose sizes that suit them, such as 1184 by 864 for 4:3.
RATIO_TOLERANCE = 1.05
# How images in well-known formats start, in lower case, and how JSON and web pages do.
_SIGNATURES = (b"\x89png\r\n\x1a\n", b"\xff\xd8\xff", b"gif8", b"riff")
_OTHERS = (b"{", b"[", b"<!doctype", b"<html")


@frozen
class Picture:
    """The picture of a task, as it was fetched."""

    url: str
    content: bytes = field(repr=False)
    size: tuple[int, int] | None
    """Its width and height; None if its format is not one that can be decoded here."""


class NotFetchedError(Exception):
    """No picture can be had. The arguments are a Violation's text and detail."""


def candidates(result: Any, sources: Sequence[str]) -> list[str]:
    """Return the URLs that may be the picture's. `sources` are those in the request.

    A result may name a page, or echo the request, beside its picture. URLs under a name that speaks
    of images are preferred.
    """
    found = [(path, text) for path, text in _strings(result) if _is_url(text)]
    found = [(path, text) for path, text in found if text not in sources]
    named = [text for path, text in found if "image" in path or "picture" in path]
    return named or [text for _, text in found]


def fetch(client: httpx.Client, urls: Sequence[str]) -> Picture:
    """Return the first picture that can be fetched without a key. Raises NotFetchedError."""
    problems: list[NotFetchedError] = []
    for url in urls:
        try:
            return _fetch(client, url)
        except NotFetchedError as problem:
            problems.append(problem)
    raise problems[0]


def _fetch(client: httpx.Client, url: str) -> Picture:
    if url.lower().startswith("data:"):
        return _decode(url, *_read_data(url))
    try:
        response = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unfetched(url, repr(error)) from error
    if response.status_code != 200:
        raise _unfetched(url, f"status {response.status_code}")
    return _decode(url, response.headers.get("content-type", ""), response.content)


def _read_data(url: str) -> tuple[str, bytes]:
    head, _, data = url[5:].partition(",")
    content = unquote_to_bytes(data)
    try:
        return head, base64.b64decode(content, validate=True) if ";base64" in head else content
    except binascii.Error as error:
        raise _unfetched(url, str(error)) from error


def _decode(url: str, media_type: str, content: bytes) -> Picture:
    if not content:
        raise _unfetched(url, "the response is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                return Picture(url, content, image.size)
    except UnidentifiedImageError:
        # There are formats that Pillow does not know.
        is_known = content.lstrip().lower().startswith((*_SIGNATURES, *_OTHERS))
        if media_type.startswith("image/") and not is_known:
            return Picture(url, content, None)
        shown = media_type or "something else"
        text = f"returns an image URL that serves {shown}, not an image: {url:.200}"
        raise NotFetchedError(text, "not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = f"returns an image that cannot be decoded: {url:.200}: {error}"
        raise NotFetchedError(text, "image cannot be decoded") from error


def _unfetched(url: str, reason: str) -> NotFetchedError:
    text = f"returns an image URL that cannot be fetched: {url:.200}: {reason:.200}"
    return NotFetchedError(text, "image cannot be fetched")


def wrong_ratio(picture: Picture, wanted: str, ratios: Sequence[str]) -> Violation | None:
    """Return a warning if a picture is clearly nearer to another ratio than to the wanted one."""
    if picture.size is None:
        return None
    width, height = picture.size
    distance = {ratio: abs(math.log(width / height / _number(ratio))) for ratio in ratios}
    nearest = min(distance, key=lambda ratio: distance[ratio])
    if distance[wanted] <= distance[nearest] + math.log(RATIO_TOLERANCE):
        return None
    text = f"returns an image of {width} by {height} for the ratio {wanted}"
    return Violation("response", text, "image has another ratio", is_warning=True)


def _number(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return int(width) / int(height)


def mixed_up(
    pictures: Mapping[str, Picture], kinds: Mapping[str, str]
) -> Iterator[tuple[str, Violation]]:
    """Yield the ids of tasks that have another task's picture.

    `kinds` has the tasks whose texts differ. Those with a kind differ in nothing else. If they all
    have the same picture, it may be a placeholder.
    """
    contents = {task: pictures[task].content for task in kinds}
    is_placeholder = len({content for task, content in contents.items() if kinds[task]}) <= 1
    owners: dict[bytes, str] = {}
    for task, content in contents.items():
        other = owners.setdefault(content, task)
        if other != task:
            text = f"returns the image of task {other} for task {task}, which has another prompt"
            detail = "image of another task"
            yield task, Violation("response", text, detail, is_warning=is_placeholder)


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string in a JSON value, with the names that lead to it."""
    if isinstance(value, str):
        yield path.lower(), value
    for name, child in value.items() if isinstance(value, dict) else ():
        yield from _strings(child, f"{path}.{name}")
    for child in value if isinstance(value, list) else ():
        yield from _strings(child, path)


def _is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://", "data:image/"))
