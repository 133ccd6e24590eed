"""What is sent: a submission is copied from a template, but is what httpx would have built."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from mountsea_banana import AsyncNanoBanana, NanoBanana

PROMPTS = ("a cat", "", "a långer prompt 🐈" * 100)


class Numbering(httpx.Client):
    """A client that builds requests in its own way: it numbers them."""

    number = 0

    def build_request(self, *args: Any, **options: Any) -> httpx.Request:
        self.number += 1
        request = super().build_request(*args, **options)
        request.extensions["number"] = self.number
        return request


class Recorder(httpx.MockTransport):
    """Records requests, and creates a task for each."""

    def __init__(self) -> None:
        super().__init__(self._respond)
        self.requests: list[httpx.Request] = []

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(201, json={"taskId": "t-1"})


def client(http: httpx.Client) -> NanoBanana:
    return NanoBanana("a-key", base_url="https://api.example/v1", timeout=7, http_client=http)


def parts(request: httpx.Request) -> Sequence[object]:
    timeout = request.extensions["timeout"]
    return (request.method, request.url, request.headers.raw, request.read(), timeout)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"headers": {"X-Team": "pictures", "Accept": "text/html"}},
        {"headers": [("X-Many", "1"), ("X-Many", "2")]},
        {"headers": {"X-Name": "Åsa".encode()}},
        {"params": {"team": "pictures"}},
        {"cookies": {"session": "1"}},
    ],
)
def test_every_submission_is_the_request_that_the_http_client_builds(options: Any) -> None:
    ours, httpxs = Recorder(), Recorder()
    with httpx.Client(transport=ours, **options) as http:
        for prompt in PROMPTS:
            client(http).generate(prompt)
        banana = client(http)
        for prompt in PROMPTS:
            banana.generate(prompt)
    with Numbering(transport=httpxs, **options) as http:
        for prompt in PROMPTS * 2:
            client(http).generate(prompt)
    assert [request.extensions["number"] for request in httpxs.requests] == [1, 2, 3, 4, 5, 6]
    assert [parts(request) for request in ours.requests] == [
        parts(request) for request in httpxs.requests
    ]


class Signing(httpx.Client):
    """A client that merges headers in its own way: it numbers them."""

    number = 0

    def _merge_headers(self, headers: Any = None) -> Any:
        self.number += 1
        return super()._merge_headers({**(headers or {}), "X-Number": str(self.number)})


def test_a_client_that_merges_headers_in_its_own_way_does_so_for_each_submission() -> None:
    transport = Recorder()
    with Signing(transport=transport) as http:
        banana = client(http)
        banana.generate("a cat")
        banana.generate("a cat")
    assert [request.headers["X-Number"] for request in transport.requests] == ["1", "2"]


def test_a_tool_that_instruments_httpx_sees_each_submission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = httpx.Client.build_request
    built: list[httpx.Request] = []

    def instrumented(self: httpx.Client, *args: Any, **options: Any) -> httpx.Request:
        built.append(build(self, *args, **options))
        return built[-1]

    monkeypatch.setattr(httpx.Client, "build_request", instrumented)
    transport = Recorder()
    with httpx.Client(transport=transport) as http:
        banana = client(http)
        banana.generate("a cat")
        banana.generate("a cat")
    assert built == transport.requests


def test_an_asynchronous_submission_is_the_same_request() -> None:
    ours, others = Recorder(), Recorder()

    async def submit() -> None:
        async with httpx.AsyncClient(transport=others) as http:
            banana = AsyncNanoBanana(
                "a-key", base_url="https://api.example/v1", timeout=7, http_client=http
            )
            for prompt in PROMPTS:
                await banana.generate(prompt)

    asyncio.run(submit())
    with httpx.Client(transport=ours) as http:
        for prompt in PROMPTS:
            client(http).generate(prompt)
    assert [parts(request) for request in ours.requests] == [
        parts(request) for request in others.requests
    ]


def test_a_header_that_changes_between_submissions_is_sent() -> None:
    transport = Recorder()
    with httpx.Client(transport=transport, headers={"X-Team": "first"}) as http:
        banana = client(http)
        banana.generate("a cat")
        http.headers["X-Team"] = "second"
        banana.generate("a cat")
        del http.headers["X-Team"]
        banana.generate("a cat")
    sent = [request.headers.get("X-Team") for request in transport.requests]
    assert sent == ["first", "second", None]


def test_a_cookie_that_is_set_between_submissions_is_sent() -> None:
    transport = Recorder()
    with httpx.Client(transport=transport) as http:
        banana = client(http)
        banana.generate("a cat")
        http.cookies.set("session", "1")
        banana.generate("a cat")
        http.cookies.clear()
        banana.generate("a cat")
    sent = [request.headers.get("Cookie") for request in transport.requests]
    assert sent == [None, "session=1", None]


def test_a_query_parameter_that_is_set_between_submissions_is_sent() -> None:
    transport = Recorder()
    with httpx.Client(transport=transport) as http:
        banana = client(http)
        for params in ({}, {"team": "first"}, {"team": "second"}, {}):
            http.params = httpx.QueryParams(params)
            banana.generate("a cat")
    sent = [request.url.params.get("team") for request in transport.requests]
    assert sent == [None, "first", "second", None]


def test_what_a_hook_changes_in_one_submission_is_not_in_the_next() -> None:
    def change(request: httpx.Request) -> None:
        assert "X-Signature" not in request.headers
        request.headers["X-Signature"] = str(len(request.content))
        assert request.extensions["timeout"]["read"] == 7
        request.extensions["timeout"]["read"] = 1

    transport = Recorder()
    with httpx.Client(transport=transport, event_hooks={"request": [change]}) as http:
        banana = client(http)
        for _ in range(3):
            banana.generate("a cat")
    assert len(transport.requests) == 3
