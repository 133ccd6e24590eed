"""With `check_images`, the images of an edit are checked before it is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from mountsea_banana import AsyncNanoBanana, InvalidRequest, NanoBanana
from mountsea_banana.mock import MockServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.conftest import KEY

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 2000
seen: list[tuple[str, Mapping[str, str]]] = []


async def image(request: Request) -> Response:
    seen.append((request.method, request.headers))
    kind = request.path_params["kind"]
    is_head = request.method == "HEAD"
    match kind:
        case "moved":
            return RedirectResponse("/good")
        case "missing":
            return Response(status_code=404)
        case "page":
            return Response("<html>", media_type="text/html")
        case "no-head" if is_head:
            return Response(status_code=405)
        case "no-type" if is_head:
            return Response(headers={"Content-Length": "5"})
        case "large":
            return Response(headers={"Content-Length": "11000000", "Content-Type": "image/png"})
        case "large-range" if not is_head:
            return Response(PNG[:1024], 206, headers={"Content-Range": "bytes 0-1023/11000000"})
        case "large-range":
            return Response(status_code=405)
        case "endless" if not is_head:
            return Response(PNG + b"x" * (10 * 2**20), headers={"Transfer-Encoding": "chunked"})
        case "endless":
            return Response(status_code=405)
        case "mislabelled" if not is_head:
            return Response("<html>", media_type="image/png")
        case "mislabelled":
            return Response(status_code=403)
    return Response(PNG, media_type="image/png")


def app() -> Starlette:
    return Starlette(routes=[Route("/{kind}", image, methods=["GET", "HEAD"])])


@pytest.fixture(scope="module")
def images() -> Any:
    with MockServer(app=app()) as server:
        yield server.url


def edit(server: MockServer, urls: list[str], *, is_async: bool) -> Any:
    if not is_async:
        with NanoBanana(KEY, base_url=server.url) as banana:
            return banana.edit("make it red", urls, check_images=True)

    async def run() -> Any:
        async with AsyncNanoBanana(KEY, base_url=server.url) as banana:
            return await banana.edit("make it red", urls, check_images=True)

    return asyncio.run(run())


either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@either
def test_usable_images_are_edited_and_the_key_is_not_sent_to_their_server(
    banana_server: MockServer, images: str, is_async: bool
) -> None:
    seen.clear()
    urls = [f"{images}/{kind}" for kind in ("good", "moved", "no-head", "no-type")]
    assert edit(banana_server, urls, is_async=is_async).id
    assert sorted(method for method, _ in seen) == ["GET", "GET", *["HEAD"] * 5]
    assert all("authorization" not in headers for _, headers in seen)


@either
@pytest.mark.parametrize(
    ("kind", "rule", "problem"),
    [
        ("missing", "image-is-reachable", "returned the status 404"),
        ("page", "image-is-an-image", "not an image (content type: text/html"),
        ("mislabelled", "image-is-an-image", "not an image (content type: image/png"),
        ("large", "image-at-most-10-mb", "is larger than 10 MB (11000000 bytes)"),
        ("large-range", "image-at-most-10-mb", "is larger than 10 MB (11000000 bytes)"),
        ("endless", "image-at-most-10-mb", "is"),
    ],
)
def test_an_image_that_the_vendor_cannot_use_costs_nothing(
    banana_server: MockServer, images: str, is_async: bool, kind: str, rule: str, problem: str
) -> None:
    urls = [f"{images}/good", f"{images}/{kind}"]
    with pytest.raises(InvalidRequest) as caught:
        edit(banana_server, urls, is_async=is_async)
    (violation,) = caught.value.violations
    assert (violation.rule, violation.field) == (rule, "image_urls[1]")
    assert problem in violation.message
    assert banana_server.submissions == []


@either
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "http://a\u0300.example/a", "https://[::1]:99999/a"]
)
def test_an_unreachable_url_costs_nothing(
    banana_server: MockServer, is_async: bool, url: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        edit(banana_server, [url], is_async=is_async)
    assert caught.value.violations
    assert banana_server.submissions == []


def test_an_invalid_request_is_rejected_before_any_image_is_checked(
    banana_server: MockServer, images: str
) -> None:
    seen.clear()
    with NanoBanana(KEY, base_url=banana_server.url) as banana, pytest.raises(InvalidRequest):
        banana.edit("x", [f"{images}/good"], resolution="2K", check_images=True)  # type: ignore[call-overload]
    assert seen == []


def test_images_are_not_checked_by_default(banana_server: MockServer, images: str) -> None:
    seen.clear()
    with NanoBanana(KEY, base_url=banana_server.url) as banana:
        banana.edit("make it red", f"{images}/missing")
    assert seen == []
    assert httpx.get(f"{images}/missing").status_code == 404
