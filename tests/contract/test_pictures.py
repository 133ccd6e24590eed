"""The picture in a task's result is found, fetched and compared with what was asked for."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from mountsea_banana.harness._pictures import (
    NotFetchedError,
    Picture,
    candidates,
    fetch,
    mixed_up,
    wrong_ratio,
)
from PIL import Image

RATIOS = ["1:1", "5:4", "4:3", "3:2", "16:9", "21:9", "9:16"]


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 36), "orange").save(content, "png")
    return content.getvalue()


def respond(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/cat.png":
            return httpx.Response(200, content=png())
        case "/half.png":
            return httpx.Response(200, content=png()[:60], headers={"content-type": "image/png"})
        case "/empty":
            return httpx.Response(200)
        case "/page":
            return httpx.Response(200, html="<!doctype html>")
        case "/future":
            return httpx.Response(200, content=b"?", headers={"content-type": "image/future"})
        case "/closed":
            raise httpx.ConnectError("refused")
    return httpx.Response(404)


CLIENT = httpx.Client(transport=httpx.MockTransport(respond), base_url="http://server")


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"imageUrls": ["http://server/1"]}, ["http://server/1"]),
        ({"images": [{"url": "http://server/1"}], "page": "http://a/"}, ["http://server/1"]),
        ({"url": "http://server/1", "note": "none"}, ["http://server/1"]),
        ({"image_urls": ["http://source/1"], "output": "http://server/1"}, ["http://server/1"]),
        ({"imageUrls": ["data:image/png;base64,AA=="]}, ["data:image/png;base64,AA=="]),
        ({"imageUrls": ["http://source/1"]}, []),
        (None, []),
    ],
)
def test_a_result_may_hold_more_than_its_picture(result: Any, found: list[str]) -> None:
    assert candidates(result, ["http://source/1"]) == found


def test_a_picture_is_fetched_from_the_first_url_that_serves_one() -> None:
    picture = fetch(CLIENT, ["http://server/page", "http://server/cat.png"])
    assert picture == Picture("http://server/cat.png", png(), (64, 36))


def test_a_picture_may_be_in_its_url() -> None:
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    assert fetch(CLIENT, [url]).size == (64, 36)
    assert fetch(CLIENT, ["data:image/svg+xml,%3Csvg/%3E"]).content == b"<svg/>"


def test_a_format_that_is_not_known_counts_as_a_picture() -> None:
    assert fetch(CLIENT, ["http://server/future"]).size is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://server/half.png", "image cannot be decoded"),
        ("http://server/empty", "image cannot be fetched"),
        ("http://server/none", "image cannot be fetched"),
        ("http://server/closed", "image cannot be fetched"),
        ("data:image/png;base64,?", "image cannot be fetched"),
        ("http://server/page", "not an image"),
    ],
)
def test_what_is_no_picture_is_said(url: str, problem: str) -> None:
    with pytest.raises(NotFetchedError) as error:
        fetch(CLIENT, [url])
    assert error.value.args[1] == problem


@pytest.mark.parametrize(
    ("size", "wanted", "is_wrong"),
    [
        ((1344, 768), "16:9", False),
        ((1184, 864), "4:3", False),
        ((1024, 1024), "1:1", False),
        ((1152, 864), "5:4", True),
        ((1024, 1024), "16:9", True),
        ((768, 1344), "16:9", True),
        (None, "16:9", False),
    ],
)
def test_a_size_only_has_to_be_near_the_ratio(
    size: tuple[int, int] | None, wanted: str, is_wrong: bool
) -> None:
    violation = wrong_ratio(Picture("", b"", size), wanted, RATIOS)
    assert (violation is not None) == is_wrong
    assert violation is None or violation.is_warning


def test_another_tasks_picture_is_a_violation_unless_all_tasks_have_the_same() -> None:
    kinds = {"a": "same", "b": "same", "c": ""}

    def found(*contents: bytes) -> list[tuple[str, bool]]:
        pictures = {
            task: Picture("", each, None) for task, each in zip("abc", contents, strict=True)
        }
        return [(task, violation.is_warning) for task, violation in mixed_up(pictures, kinds)]

    assert found(b"1", b"2", b"3") == []
    assert found(b"1", b"2", b"1") == [("c", False)]
    assert found(b"1", b"1", b"1") == [("b", True), ("c", True)]
