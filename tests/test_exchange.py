"""Whatever happens to one attempt: whether it left is observed, and no id or key gets lost."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import itertools
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import httpcore
import httpx
import mountsea_banana as api
import pytest
import trio
from h2.connection import H2Connection
from hyperframe.frame import GoAwayFrame
from mountsea_banana import AsyncNanoBanana, AsyncTaskResult, InstantClock, NanoBanana, TaskResult
from mountsea_banana.client import _threads
from mountsea_banana.client._encodings import Decoder
from mountsea_banana.client._exchange import Abandoned, Exchange
from mountsea_banana.mock import MockServer

from tests import http2
from tests.conftest import KEY as MOCK_KEY
from tests.faults import (
    CREATED,
    DEFAULT_HTTP,
    ID,
    JSON,
    KEPT,
    KEY,
    Fault,
    FaultServer,
    Untraced,
    as_hook,
    errors,
    response,
)
from tests.loopback import server_tls

NOWHERE = "http://127.0.0.1:9"
PNG = b"\x89PNG\r\n\x1a\n"
SHORT = httpx.Timeout(0.02)
"""Every phase of an attempt; the attempt itself may take four times as long."""

either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
each_error = pytest.mark.parametrize("name", errors())


def generate(client: Any) -> Any:
    return client.generate("a cat")


def fetch(client: Any) -> Any:
    return client.task("t-1").fetch()


def call(
    url: str,
    method: Callable[[Any], Any] = generate,
    *,
    is_async: bool,
    hooks: Mapping[str, Callable[[Any], object]] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Call `method` with a client of a server; return its result.

    `options` are those of the httpx client, and `settings` those of the client.
    """
    known = hooks or {}
    event_hooks = {kind: [as_hook(hook, is_async=is_async)] for kind, hook in known.items()}
    given: Any = {"timeout": 5, "clock": InstantClock(), "base_url": url, **(settings or {})}
    options = {**DEFAULT_HTTP, "event_hooks": event_hooks, "trust_env": False, **options}
    if not is_async:
        with httpx.Client(**options) as http:
            return method(NanoBanana(KEY, http_client=http, **given))

    async def run() -> Any:
        async with httpx.AsyncClient(**options) as http:
            return await method(AsyncNanoBanana(KEY, http_client=http, **given))

    return asyncio.run(run())


def reachable(start: object) -> Iterator[object]:
    """Yield everything that an error leads to, tracebacks excluded."""
    seen: set[int] = set()
    found = [start]
    while found:
        each = found.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, httpx.Headers):
            found += [each.raw]
        elif isinstance(each, Mapping):
            found += [*each.keys(), *each.values()]
        elif isinstance(each, Sequence) and not isinstance(each, str | bytes):
            found += each
        if isinstance(each, BaseException):
            found += [each.__cause__, each.__context__, each.args, str(each), repr(each)]
        found += getattr(each, "__dict__", {}).values()
        for name in ("request", "response", "headers", "_request", "_response"):
            with suppress(Exception):
                found.append(getattr(each, name))


def assert_no_key(error: BaseException) -> None:
    """Assert that nothing reachable from an error holds the key."""
    for each in reachable(error):
        if isinstance(each, str):
            assert KEY not in each
        if isinstance(each, bytes):
            assert KEY.encode() not in each


@pytest.fixture
def join_workers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that waits until every worker thread that the test started has ended."""
    _threads._idle.clear()  # the workers of other tests end by themselves
    monkeypatch.setattr(_threads, "IDLE_SECONDS", 0.01)
    before = set(threading.enumerate())

    def join() -> None:
        for thread in set(threading.enumerate()) - before:
            if thread.name == "mountsea-banana":
                thread.join(5)
                assert not thread.is_alive()

    return join


# Hooks.


@either
@each_error
def test_a_response_hook_that_raises_leaves_a_submission_unknown_and_charged_once(
    name: str, is_async: bool
) -> None:
    def hook(response: httpx.Response) -> None:
        raise errors()[name](httpx.Request("GET", "https://metrics.example"))

    with FaultServer(CREATED) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=is_async, hooks={"response": hook})
    assert (server.posts, server.charged) == (1, 1)
    assert_no_key(caught.value)


@either
@each_error
def test_a_request_hook_that_raises_is_never_retried_and_sends_nothing(
    name: str, is_async: bool
) -> None:
    def hook(request: httpx.Request) -> None:
        raise errors()[name](httpx.Request("GET", "https://metrics.example"))

    clock = InstantClock()
    with FaultServer(CREATED) as server, pytest.raises(api.NanoBananaError) as caught:
        call(server.url, is_async=is_async, hooks={"request": hook}, settings={"clock": clock})
    assert type(caught.value) in (api.SubmissionUnknown, api.APIConnectionError)
    assert (server.posts, server.charged, clock.sleeps) == (0, 0, [])
    assert_no_key(caught.value)


def raise_for_status(response: httpx.Response) -> None:
    response.raise_for_status()


@either
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, api.SubmissionUnknown),
        (307, api.APIStatusError),
        (400, api.BadRequestError),
        (401, api.AuthenticationError),
        (404, api.NotFoundError),
        (429, api.RateLimitError),
        (500, api.SubmissionServerError),
        (502, api.SubmissionServerError),
    ],
)
def test_raise_for_status_as_a_response_hook_gives_the_error_of_the_status(
    status: int, expected: type[api.NanoBananaError], is_async: bool
) -> None:
    fault = Fault("a status", response(status, {"message": KEY}, f"X-Echo: {KEY}"))
    with FaultServer(fault) as server, pytest.raises(expected) as caught:
        call(
            server.url,
            is_async=is_async,
            hooks={"response": raise_for_status},
            settings={"max_retries": 0},
        )
    assert type(caught.value) is expected
    assert getattr(caught.value, "status_code", status) == status
    assert server.posts == 1
    assert_no_key(caught.value)


@either
def test_raise_for_status_as_a_response_hook_lets_a_success_pass(is_async: bool) -> None:
    with FaultServer(CREATED) as server:
        assert call(server.url, is_async=is_async, hooks={"response": raise_for_status}).id == "t-1"
    assert server.charged == 1


@either
def test_raise_for_status_as_a_response_hook_keeps_the_retry_after_a_429(is_async: bool) -> None:
    clock = InstantClock()
    with FaultServer(Fault("busy", response(429, b"", "Retry-After: 7")), CREATED) as server:
        task = call(
            server.url,
            is_async=is_async,
            hooks={"response": raise_for_status},
            settings={"clock": clock},
        )
    assert (task.id, clock.sleeps, server.charged) == ("t-1", [7.0], 1)


@either
def test_raise_for_status_as_a_response_hook_ends_a_wait_for_an_unknown_task_at_once(
    is_async: bool,
) -> None:
    with FaultServer(Fault("unknown", response(404))) as server, pytest.raises(api.NotFoundError):
        call(
            server.url,
            lambda client: client.task("t-1").wait(),
            is_async=is_async,
            hooks={"response": raise_for_status},
        )
    assert len(server.requests) == 1


@either
def test_the_status_of_another_servers_response_is_not_that_of_the_submission(
    is_async: bool,
) -> None:
    def hook(response: httpx.Response) -> None:
        other = httpx.Response(429, request=httpx.Request("POST", "https://metrics.example"))
        other.raise_for_status()

    with FaultServer(CREATED) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=is_async, hooks={"response": hook})
    assert (server.posts, server.charged) == (1, 1)
    assert_no_key(caught.value)


@either
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_response_hook_may_read_the_body_first(encoding: str, is_async: bool) -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    hooks: Any = [read if is_async else httpx.Response.read]
    body = json.dumps(ID).encode()
    text = response(
        201, gzip.compress(body) if encoding == "gzip" else body, f"Content-Encoding: {encoding}"
    )
    with FaultServer(Fault("created", text, charges=True)) as server:
        assert call(server.url, is_async=is_async, event_hooks={"response": hooks}).id == "t-1"
    assert server.charged == 1


@either
def test_a_response_hook_that_streams_the_body_leaves_a_submission_unknown(is_async: bool) -> None:
    async def stream(response: httpx.Response) -> None:
        async for _ in response.aiter_bytes():
            pass

    hooks: Any = [stream if is_async else lambda response: list(response.iter_bytes())]
    with FaultServer(CREATED) as server, pytest.raises(api.SubmissionUnknown):
        call(server.url, is_async=is_async, event_hooks={"response": hooks})
    assert (server.posts, server.charged) == (1, 1)


@either
def test_a_response_hook_that_has_read_the_id_and_raises_does_not_lose_it(is_async: bool) -> None:
    async def read(received: httpx.Response) -> None:
        await received.aread()

    def fail(_: httpx.Response) -> None:
        raise ValueError("invalid")

    hooks: Any = [read if is_async else httpx.Response.read, as_hook(fail, is_async=is_async)]
    event_hooks = {"response": hooks}
    with FaultServer(CREATED) as server:
        with pytest.raises(api.SubmissionUnknown, match="ValueError: invalid") as caught:
            call(server.url, is_async=is_async, event_hooks=event_hooks)
        assert caught.value.task_id == "t-1"
        with pytest.raises(api.APIConnectionError, match="ValueError: invalid"):
            call(server.url, fetch, is_async=is_async, event_hooks=event_hooks)


@either
def test_a_response_that_a_hook_makes_up_says_nothing_about_the_submission(is_async: bool) -> None:
    def hook(received: httpx.Response) -> None:
        refusal = httpx.Response(429, headers={"Retry-After": "0"}, request=received.request)
        raise httpx.HTTPStatusError("no quota", request=received.request, response=refusal)

    with (
        FaultServer(CREATED) as server,
        pytest.raises(api.SubmissionUnknown, match="no quota"),
    ):
        call(server.url, is_async=is_async, hooks={"response": hook})
    assert server.posts == 1


@either
def test_a_client_that_raises_for_every_error_status_gives_that_status(is_async: bool) -> None:
    class Raising(httpx.Client):
        def send(self, *arguments: Any, **options: Any) -> httpx.Response:
            return super().send(*arguments, **options).raise_for_status()

    class AsyncRaising(httpx.AsyncClient):
        async def send(self, *arguments: Any, **options: Any) -> httpx.Response:
            return (await super().send(*arguments, **options)).raise_for_status()

    def submit() -> None:
        with Raising() as http:
            NanoBanana(KEY, base_url=server.url, http_client=http).generate("a cat")

    async def submit_async() -> None:
        async with AsyncRaising() as http:
            await AsyncNanoBanana(KEY, base_url=server.url, http_client=http).generate("a cat")

    with (
        FaultServer(Fault("rejected", response(400, {"message": "no"}, JSON))) as server,
        pytest.raises(api.BadRequestError),
    ):
        asyncio.run(submit_async()) if is_async else submit()


@either
@pytest.mark.parametrize("status", [201, 503])
def test_another_response_in_a_hook_that_raises_says_nothing_about_the_submission(
    status: int, is_async: bool
) -> None:
    def hook(received: httpx.Response) -> None:
        request = received.request if status == 503 else httpx.Request("POST", NOWHERE)
        other = httpx.Response(status, headers={"Retry-After": "1"}, json=ID, request=request)
        raise ValueError(f"got {other.status_code} elsewhere")

    with FaultServer(CREATED) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=is_async, hooks={"response": hook})
    assert caught.value.task_id is None
    assert server.posts == 1


def test_a_cancellation_in_a_response_hook_that_has_read_the_id_notes_the_id() -> None:
    async def run() -> None:
        has_read = asyncio.Event()

        async def hook(received: httpx.Response) -> None:
            await received.aread()
            has_read.set()
            await asyncio.Event().wait()

        async with httpx.AsyncClient(event_hooks={"response": [hook]}) as http:
            client = AsyncNanoBanana(KEY, base_url=server.url, http_client=http)
            submission = asyncio.ensure_future(client.generate("a cat"))
            await asyncio.wait_for(has_read.wait(), 5)
            submission.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await submission
        assert caught.value.__notes__ == [NOTE]

    with FaultServer(CREATED) as server:
        asyncio.run(run())


def test_a_client_that_is_closed_before_it_sends_is_not_said_to_have_sent() -> None:
    class Closing(httpx.Client):
        def build_request(self, *arguments: Any, **options: Any) -> httpx.Request:
            request = super().build_request(*arguments, **options)
            self.close()  # as another thread may do
            return request

    with FaultServer(CREATED) as server:
        client = NanoBanana(KEY, base_url=server.url, http_client=Closing(), max_retries=0)
        with pytest.raises(api.APIConnectionError, match="the client was closed"):
            client.generate("a cat")
    assert server.posts == 0


@either
@pytest.mark.parametrize("status", [201, 400])
def test_a_response_hook_that_raises_a_response_says_why_only_if_it_is_a_success(
    status: int, is_async: bool
) -> None:
    def hook(received: httpx.Response) -> None:
        raise httpx.HTTPStatusError("my reason", request=received.request, response=received)

    expected = api.SubmissionUnknown if status == 201 else api.BadRequestError
    with (
        FaultServer(Fault("a status", response(status, ID))) as server,
        pytest.raises(expected) as caught,
    ):
        call(server.url, is_async=is_async, hooks={"response": hook})
    assert ("my reason" in str(caught.value)) is (status == 201)


@either
def test_a_timeout_error_of_a_response_hook_is_not_the_deadline(is_async: bool) -> None:
    def hook(_: httpx.Response) -> None:
        raise TimeoutError("mine")

    with (
        FaultServer(CREATED) as server,
        pytest.raises(api.SubmissionUnknown, match="TimeoutError: mine"),
    ):
        call(server.url, is_async=is_async, hooks={"response": hook})


# Transports.


@either
def test_a_transport_that_maps_resets_to_connect_timeouts_sends_once(is_async: bool) -> None:
    def map_error(error: Exception) -> Exception:
        return httpx.ConnectTimeout("reset")

    fault = Fault("reset before the response", charges=True, resets=True)
    with FaultServer(fault) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=is_async, transport=Untraced(map_error))
    assert (server.posts, server.charged) == (1, 1)
    assert_no_key(caught.value)


@either
@each_error
def test_an_error_of_a_foreign_transport_after_a_charge_is_unknown_and_not_retried(
    name: str, is_async: bool
) -> None:
    charged: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        charged.append(request)
        raise errors()[name](request)

    with pytest.raises(api.SubmissionUnknown) as caught:
        call(NOWHERE, is_async=is_async, transport=httpx.MockTransport(handle))
    assert len(charged) == 1
    assert_no_key(caught.value)


@either
def test_a_transport_with_retries_reports_a_closed_port_as_not_sent(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep_async(self: object, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(httpcore.SyncBackend, "sleep", lambda _, seconds: pauses.append(seconds))
    monkeypatch.setattr(httpcore.AnyIOBackend, "sleep", sleep_async)
    kind = httpx.AsyncHTTPTransport if is_async else httpx.HTTPTransport
    clock = InstantClock()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(api.APIConnectionError, match=r"not sent .* nothing was charged") as caught:
        call(url, is_async=is_async, transport=kind(retries=3), settings={"clock": clock})
    assert (len(clock.sleeps), pauses) == (2, [0, 0.5, 1] * 3)
    assert_no_key(caught.value)


@either
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_client_that_follows_redirects_does_not_follow_that_of_a_submission(
    status: int, is_async: bool
) -> None:
    moved = response(status, b"", "Location: http://127.0.0.1:1/dead")
    with (
        FaultServer(Fault("processed", moved, charges=True)) as server,
        pytest.raises(
            api.SubmissionUnknown, match=r"redirect to http://127\.0\.0\.1:1/dead"
        ) as caught,
    ):
        call(server.url, is_async=is_async, follow_redirects=True)
    assert (server.posts, server.charged) == (1, 1)
    assert_no_key(caught.value)


@either
@pytest.mark.parametrize("status", [307, 308])
def test_a_submission_that_must_be_sent_elsewhere_is_a_status_error(
    status: int, is_async: bool
) -> None:
    moved = response(status, b"", "Location: /elsewhere")
    with FaultServer(Fault("moved", moved)) as server, pytest.raises(api.APIStatusError) as caught:
        call(server.url, is_async=is_async, follow_redirects=True)
    assert (caught.value.status_code, server.posts) == (status, 1)


@either
def test_a_dead_proxy_means_that_nothing_was_sent(is_async: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = f"http://127.0.0.1:{taken.getsockname()[1]}"
    clock = InstantClock()
    with pytest.raises(api.APIConnectionError, match="not sent"):
        call("https://api.example", is_async=is_async, proxy=proxy, settings={"clock": clock})
    assert len(clock.sleeps) == 2


@either
def test_a_submission_to_a_server_without_a_trusted_certificate_was_not_sent(
    is_async: bool,
) -> None:
    with (
        FaultServer(CREATED, tls=server_tls()) as server,
        pytest.raises(api.APIConnectionError, match="not sent"),
    ):
        call(server.url, is_async=is_async, verify=True)
    assert server.posts == 0


class ReleasingClock(InstantClock):
    """A clock that closes a response in the first pause, and so releases its connection."""

    busy: httpx.Response

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.busy.close()

    async def sleep_async(self, seconds: float) -> None:
        await super().sleep_async(seconds)
        await self.busy.aclose()


def submit_while_busy(url: str, *, is_async: bool, max_retries: int) -> Any:
    """Submit with a client whose only connection is occupied until the first pause."""
    clock, limits = ReleasingClock(), httpx.Limits(max_connections=1)
    settings: Any = {
        "base_url": url,
        "clock": clock,
        "max_retries": max_retries,
        "timeout": httpx.Timeout(5, pool=0.005),
    }
    if not is_async:
        with httpx.Client(limits=limits) as http:
            clock.busy = http.send(http.build_request("GET", url), stream=True)
            return NanoBanana(KEY, http_client=http, **settings).generate("a cat")

    async def run() -> Any:
        async with httpx.AsyncClient(limits=limits) as http:
            clock.busy = await http.send(http.build_request("GET", url), stream=True)
            return await AsyncNanoBanana(KEY, http_client=http, **settings).generate("a cat")

    return asyncio.run(run())


BUSY = Fault("never ends", response(200, length=1), stalls=True)


@either
def test_a_submission_that_gets_no_connection_from_the_pool_was_not_sent(is_async: bool) -> None:
    with (
        FaultServer(BUSY) as server,
        pytest.raises(api.APITimeoutError, match=r"not sent \(PoolTimeout\)") as caught,
    ):
        submit_while_busy(server.url, is_async=is_async, max_retries=0)
    assert server.posts == 0
    assert_no_key(caught.value)


@either
def test_a_submission_is_retried_until_the_pool_has_a_connection(is_async: bool) -> None:
    with FaultServer(BUSY, CREATED) as server:
        assert submit_while_busy(server.url, is_async=is_async, max_retries=1).id == "t-1"
    assert (server.posts, server.charged) == (1, 1)


@pytest.fixture
def replace_transports(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[httpx.Request], httpx.Response]], None]:
    """Return a function that replaces what httpx's own transports do, as mocking libraries do."""

    def replace(handle: Callable[[httpx.Request], httpx.Response]) -> None:
        async def handle_async(_: object, request: httpx.Request) -> httpx.Response:
            return handle(request)

        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, each: handle(each))
        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_async)

    return replace


@either
@each_error
def test_an_error_of_a_replaced_transport_leaves_a_submission_unknown(
    name: str, is_async: bool, replace_transports: Callable[..., None]
) -> None:
    charged: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        charged.append(request)
        raise errors()[name](request)

    replace_transports(handle)
    with pytest.raises(api.SubmissionUnknown):
        call(NOWHERE, is_async=is_async)
    assert len(charged) == 1


@either
def test_a_pool_timeout_of_another_request_leaves_a_submission_unknown(
    is_async: bool, replace_transports: Callable[..., None]
) -> None:
    charged: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        charged.append(request)
        return httpx.Response(201, json=ID)

    def hook(_: httpx.Response) -> None:
        other = httpx.Request("GET", "https://metrics.example")
        raise httpx.PoolTimeout("busy", request=other) from httpcore.PoolTimeout()

    replace_transports(handle)
    with pytest.raises(api.SubmissionUnknown):
        call(NOWHERE, is_async=is_async, hooks={"response": hook})
    assert len(charged) == 1


@either
def test_a_request_hook_that_takes_the_trace_away_leaves_a_submission_unknown(
    is_async: bool,
) -> None:
    def trace(event: str, info: object) -> None:
        pass

    def hook(request: httpx.Request) -> None:
        request.extensions["trace"] = trace_async if is_async else trace

    async def trace_async(event: str, info: object) -> None:
        pass

    with (
        FaultServer(Fault("drops", charges=True)) as server,
        pytest.raises(api.SubmissionUnknown),
    ):
        call(server.url, is_async=is_async, hooks={"request": hook})
    assert (server.posts, server.charged) == (1, 1)


@either
def test_requests_that_a_tool_recorded_keep_their_authorization(is_async: bool) -> None:
    recorded: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        recorded.append(request)
        return httpx.Response(201, json=ID)

    assert call(NOWHERE, is_async=is_async, transport=httpx.MockTransport(handle)).id == "t-1"
    assert [request.headers["Authorization"] for request in recorded] == [f"Bearer {KEY}"]


@either
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, pytest.fail.Exception])
@pytest.mark.parametrize("place", ["transport", "request", "response"])
def test_an_exit_or_a_failed_test_propagates_from_a_transport_and_from_hooks(
    place: str, error: type[BaseException], is_async: bool
) -> None:
    def fail(message: object) -> httpx.Response:
        raise error("mine")

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json=ID)

    transport = httpx.MockTransport(fail if place == "transport" else respond)
    hooks = {} if place == "transport" else {place: fail}
    with pytest.raises(error, match="mine"):
        call(NOWHERE, is_async=is_async, transport=transport, hooks=hooks)


# Giving an attempt up.


@either
def test_a_name_look_up_that_outlives_its_attempt_sends_nothing(
    is_async: bool, monkeypatch: pytest.MonkeyPatch, join_workers: Callable[[], None]
) -> None:
    look_up, returns = socket.getaddrinfo, threading.Event()
    looked_up = []

    def slow(host: Any, port: Any, *options: Any, **more: Any) -> Any:
        found = look_up("127.0.0.1", port, socket.AF_INET, socket.SOCK_STREAM)
        assert returns.wait(5)
        looked_up.append(host)
        return found

    def attempt(client: NanoBanana) -> api.NanoBananaError:
        with pytest.raises(api.APITimeoutError, match="not sent") as caught:
            client.generate("a cat")
        returns.set()
        return caught.value

    async def attempt_async(client: AsyncNanoBanana) -> api.NanoBananaError:
        with pytest.raises(api.APITimeoutError, match="not sent") as caught:
            await client.generate("a cat")
        returns.set()
        return caught.value

    settings = {"timeout": SHORT, "max_retries": 0}
    with FaultServer(CREATED) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        error = call(
            url, attempt_async if is_async else attempt, is_async=is_async, settings=settings
        )
        join_workers()
        assert [str(host) for host in looked_up] in (["localhost"], ["b'localhost'"])
        assert (server.requests, server.charged) == ([], 0)
    assert_no_key(error)


class Watched(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body that calls `on_chunk` once a chunk of it was received."""

    def __init__(self, stream: Any, on_chunk: Callable[[], object]) -> None:
        self._stream, self._on_chunk = stream, on_chunk

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield chunk
            self._on_chunk()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk
            self._on_chunk()

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class WatchedTransport(httpx.HTTPTransport):
    def __init__(self, on_chunk: Callable[[], object]) -> None:
        super().__init__()
        self._on_chunk = on_chunk

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        got = super().handle_request(request)
        stream = Watched(got.stream, self._on_chunk)
        return httpx.Response(
            got.status_code, headers=got.headers, stream=stream, extensions=got.extensions
        )


class AsyncWatchedTransport(httpx.AsyncHTTPTransport):
    def __init__(self, on_chunk: Callable[[], object]) -> None:
        super().__init__()
        self._on_chunk = on_chunk

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        got = await super().handle_async_request(request)
        stream = Watched(got.stream, self._on_chunk)
        return httpx.Response(
            got.status_code, headers=got.headers, stream=stream, extensions=got.extensions
        )


HALF = Fault(
    "the id, then nothing",
    response(201, b'{"taskId": "t-1"', JSON, length=999),
    charges=True,
    stalls=True,
)
NOTE = "a submission was interrupted, but created task t-1: resume it by its id"


def test_ctrl_c_after_the_id_arrived_notes_and_logs_the_id(
    caplog: pytest.LogCaptureFixture, join_workers: Callable[[], None]
) -> None:
    received = threading.Event()

    def press() -> None:
        assert received.wait(5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    helper = threading.Thread(target=press)
    helper.start()
    with FaultServer(HALF) as server, pytest.raises(KeyboardInterrupt) as caught:
        call(server.url, is_async=False, transport=WatchedTransport(received.set))
    helper.join()
    assert caught.value.__notes__ == [NOTE]
    assert NOTE in caplog.messages
    assert server.posts == 1
    join_workers()


def test_a_cancellation_after_the_id_arrived_notes_and_logs_the_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        received = asyncio.Event()
        async with httpx.AsyncClient(transport=AsyncWatchedTransport(received.set)) as http:
            client = AsyncNanoBanana(KEY, base_url=server.url, http_client=http)
            submission = asyncio.ensure_future(client.generate("a cat"))
            await asyncio.wait_for(received.wait(), 5)
            submission.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await submission
        assert caught.value.__notes__ == [NOTE]

    with FaultServer(HALF) as server:
        asyncio.run(run())
    assert NOTE in caplog.messages
    assert server.posts == 1


@either
def test_a_deadline_after_the_id_arrived_has_the_id_in_its_error(is_async: bool) -> None:
    with FaultServer(HALF) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=is_async, settings={"timeout": httpx.Timeout(0.02, read=0.1)})
    assert caught.value.task_id == "t-1"
    assert server.posts == 1
    assert_no_key(caught.value)


def test_an_abandoned_submission_on_a_foreign_transport_logs_its_id_once_it_completes(
    caplog: pytest.LogCaptureFixture, join_workers: Callable[[], None]
) -> None:
    responds = threading.Event()
    requests = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        assert responds.wait(5)
        return httpx.Response(201, json=ID)

    with pytest.raises(api.SubmissionUnknown):
        call(
            NOWHERE,
            is_async=False,
            transport=httpx.MockTransport(handle),
            settings={"timeout": SHORT},
        )
    assert caplog.messages == []
    responds.set()
    join_workers()
    assert caplog.messages == ["an abandoned submission created task t-1: resume it by its id"]
    assert len(requests) == 1


def test_an_abandoned_poll_that_completes_logs_nothing(
    caplog: pytest.LogCaptureFixture, join_workers: Callable[[], None]
) -> None:
    responds = threading.Event()

    def handle(request: httpx.Request) -> httpx.Response:
        assert responds.wait(5)
        return httpx.Response(200, json={**ID, "status": "pending"})

    with pytest.raises(api.APITimeoutError, match="nothing was charged"):
        call(
            NOWHERE,
            lambda client: client.task("t-1").fetch(),
            is_async=False,
            transport=httpx.MockTransport(handle),
            settings={"timeout": SHORT, "max_retries": 0},
        )
    responds.set()
    join_workers()
    assert caplog.messages == []


# A subinterpreter allows no daemon to be created.
@pytest.mark.parametrize("method", ["__init__", "start"])
def test_without_a_thread_nothing_is_sent(
    method: str, monkeypatch: pytest.MonkeyPatch, join_workers: Callable[[], None]
) -> None:
    def fail(self: threading.Thread, **options: Any) -> None:
        raise RuntimeError("can't start new thread")

    with FaultServer(CREATED) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, method, fail)
            with pytest.raises(api.APIConnectionError, match=r"not sent .*can't start new thread"):
                call(server.url, is_async=False)
        assert (server.posts, server.charged) == (0, 0)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the files in /proc")
@either
def test_deadlines_on_trickling_responses_leave_no_thread_and_no_socket(
    is_async: bool, join_workers: Callable[[], None]
) -> None:
    deadlines = 20
    # A byte every 5 ms, so httpx's own read timeout never strikes.
    timeout = httpx.Timeout(0.01, read=0.05)
    trickle = attrs.evolve(CREATED, text=CREATED.text[:-1] + b" " * 10_000, trickles=True)

    # On a busy machine, a deadline may also pass before the request is sent.
    either_error = (api.SubmissionUnknown, api.APITimeoutError)

    def strike(client: NanoBanana) -> list[str]:
        found: list[str] = []
        for _ in range(10 * deadlines):
            with pytest.raises(either_error) as caught:
                client.generate("a cat")
            if isinstance(caught.value, api.SubmissionUnknown):
                found.append(caught.value.problem)
            if len(found) == deadlines:
                break
        return found

    async def strike_async(client: AsyncNanoBanana) -> list[str]:
        found: list[str] = []
        for _ in range(10 * deadlines):
            with pytest.raises(either_error) as caught:
                await client.generate("a cat")
            if isinstance(caught.value, api.SubmissionUnknown):
                found.append(caught.value.problem)
            if len(found) == deadlines:
                break
        return found

    with FaultServer(trickle) as server:
        before = open_files()
        problems = call(
            server.url,
            strike_async if is_async else strike,
            is_async=is_async,
            settings={"timeout": timeout},
        )
        assert len(problems) == deadlines
        assert any("the deadline passed" in problem for problem in problems)
        join_workers()
        for _ in range(100):
            if open_files() <= before:
                break
            threading.Event().wait(0.01)
        assert open_files() <= before
    # A request that had only begun to leave is not charged.
    assert server.charged <= deadlines


def test_a_deadline_cuts_a_connection_that_an_earlier_exchange_opened(
    join_workers: Callable[[], None],
) -> None:
    kept = attrs.evolve(KEPT, keeps=True)
    # The deadline strikes in the body, a byte of which comes every 5 ms.
    trickle = attrs.evolve(CREATED, text=response(201, b" " * 10_000), trickles=True)
    with (
        FaultServer(kept, trickle) as server,
        NanoBanana(KEY, base_url=server.url, timeout=httpx.Timeout(0.5, pool=0.01)) as client,
    ):
        client.generate("a cat")
        with pytest.raises(api.SubmissionUnknown, match="the deadline passed"):
            client.generate("a cat")
        join_workers()
    assert server.charged == 2


def test_one_worker_thread_is_reused(
    banana_server: MockServer, join_workers: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_threads, "IDLE_SECONDS", 5)
    started = []

    class Worker(_threads._Worker):
        def __init__(self) -> None:
            super().__init__()
            started.append(self)

    monkeypatch.setattr(_threads, "_Worker", Worker)
    with NanoBanana(MOCK_KEY, base_url=banana_server.url) as client:
        for _ in range(10):
            client.generate("a cat")
            for _ in range(1000):  # a worker is idle soon after it handed the response over
                if _threads._idle:
                    break
                threading.Event().wait(0.001)
    assert len(started) == 1


@either
def test_a_closed_stderr_does_not_lose_the_id_of_a_response_with_the_wrong_status(
    is_async: bool,
) -> None:
    program = f"""
        import asyncio, sys, httpx
        from mountsea_banana import AsyncNanoBanana, NanoBanana

        transport = httpx.MockTransport(lambda _: httpx.Response(200, json={{"taskId": "t-1"}}))
        options = {{"api_key": "k", "base_url": "https://api.example"}}

        async def run():
            async with httpx.AsyncClient(transport=transport) as http:
                client = AsyncNanoBanana(http_client=http, **options)
                return await client.generate("a cat")

        sys.stderr.close()
        if {is_async}:
            task = asyncio.run(run())
        else:
            http = httpx.Client(transport=transport)
            task = NanoBanana(http_client=http, **options).generate("a cat")
        print(task.id)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert (done.stdout, done.returncode) == ("t-1\n", 0)


def test_a_coroutine_without_an_asyncio_loop_gets_a_configuration_error() -> None:
    client = AsyncNanoBanana(KEY, base_url=NOWHERE)
    submission = client.generate("a cat")
    with pytest.raises(api.ConfigurationError, match="asyncio event loop"):
        submission.send(None)


def test_outside_a_task_nothing_is_sent_and_the_error_says_so() -> None:
    async def drive(client: AsyncNanoBanana) -> BaseException:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[BaseException] = loop.create_future()

        def step() -> None:
            with pytest.raises(api.APIConnectionError) as caught:
                client.generate("a cat").send(None)
            outcome.set_result(caught.value)

        loop.call_soon(step)
        return await outcome

    with FaultServer(CREATED) as server:
        client = AsyncNanoBanana(KEY, base_url=server.url, max_retries=0)
        error = asyncio.run(drive(client))
    assert "inside a task" in str(error)
    assert server.requests == []


@pytest.mark.parametrize(
    "name", ["generate", "edit with checked images", "fetch", "wait", "read", "save"]
)
def test_trio_gets_a_configuration_error_and_sends_nothing(name: str, tmp_path: Path) -> None:
    with FaultServer(CREATED) as server:
        client = AsyncNanoBanana(KEY, base_url=server.url)
        image = f"{server.url}/a.png"
        result = AsyncTaskResult("t-1", "completed", {"result": {"imageUrls": [image]}})
        operations: Mapping[str, Callable[[], Awaitable[object]]] = {
            "generate": lambda: client.generate("a cat"),
            "edit with checked images": lambda: client.edit("red", image, check_images=True),
            "fetch": client.task("t-1").fetch,
            "wait": client.task("t-1").wait,
            "read": result.read,
            "save": lambda: result.save(tmp_path),
        }

        async def run() -> None:
            with pytest.raises(api.ConfigurationError, match="works only with asyncio"):
                await operations[name]()
            await client.aclose()

        trio.run(run)
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


# Content-Encoding.


def zipped(data: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        data = gzip.compress(data)
    return data


BODY = json.dumps(ID).encode()


@either
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", zipped(BODY)),
        ("GZIP", zipped(BODY)),
        ("x-gzip", zipped(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("gzip, gzip", zipped(BODY, 2)),
        ("deflate, identity, gzip", zipped(zlib.compress(BODY))),
        ("identity", BODY),
        ("unheard-of", BODY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_compressed_response_keeps_its_id(encoding: str, body: bytes, is_async: bool) -> None:
    text = response(201, body, JSON, f"Content-Encoding: {encoding}")
    with FaultServer(Fault("compressed", text, charges=True)) as server:
        assert call(server.url, is_async=is_async).id == "t-1"
    assert server.charged == 1


@either
def test_a_compressed_response_that_breaks_off_keeps_its_id(is_async: bool) -> None:
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(BODY[:-1]) + packer.flush(zlib.Z_SYNC_FLUSH)
    text = response(201, start, JSON, "Content-Encoding: gzip", length=999)
    with (
        FaultServer(Fault("broken", text, charges=True)) as server,
        pytest.raises(api.SubmissionUnknown) as caught,
    ):
        call(server.url, is_async=is_async)
    assert caught.value.task_id == "t-1"


@functools.cache
def bomb(times: int) -> bytes:
    return zipped(b" " * 100_000_000, times)


@either
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
def test_a_compressed_response_without_bounds_is_an_unknown_submission(
    encoding: str, is_async: bool
) -> None:
    text = response(201, bomb(encoding.count("gzip")), JSON, f"Content-Encoding: {encoding}")
    with FaultServer(Fault("a bomb", text, charges=True)) as server:
        tracemalloc.start()
        try:
            with pytest.raises(api.SubmissionUnknown, match="longer than") as caught:
                call(server.url, is_async=is_async)
            assert tracemalloc.get_traced_memory()[1] < 100_000_000
        finally:
            tracemalloc.stop()
    assert server.charged == 1
    assert_no_key(caught.value)


def id_in(body: bytes, encoding: str) -> str:
    """Return the task id in the response to a submission. Raises SubmissionUnknown."""
    text = response(201, body, JSON, f"Content-Encoding: {encoding}")
    with FaultServer(Fault("compressed", text, charges=True)) as server:
        task_id: str = call(server.url, is_async=False).id
    return task_id


def test_a_response_that_is_not_compressed_as_its_header_says_keeps_its_id() -> None:
    assert id_in(BODY, "gzip") == "t-1"
    assert id_in(BODY, "gzip, deflate") == "t-1"
    assert id_in(b"\n " + BODY, "gzip") == "t-1"
    assert id_in(zipped(BODY), "identity") == "t-1"


def test_compressed_bytes_that_look_like_json_are_decoded_all_the_same() -> None:
    """Where one part of a body ends and the next one starts is up to the network."""
    bodies = (json.dumps({**ID, "number": number}).encode() for number in itertools.count())
    data = next(each for each in map(zipped, bodies) if b"{" in each[1:])
    brace = data.index(b"{", 1)
    decoder = Decoder("gzip")
    decoded = [*decoder.feed(data[:brace]), *decoder.feed(data[brace:])]
    assert b"".join(decoded) == gzip.decompress(data)


def test_a_response_may_be_compressed_up_to_three_times() -> None:
    assert id_in(zipped(BODY, 3), "gzip, gzip, gzip") == "t-1"
    with pytest.raises(api.SubmissionUnknown):
        id_in(zipped(BODY, 4), "gzip, gzip, gzip, gzip")


def test_a_compressed_response_may_have_up_to_a_hundred_members() -> None:
    assert id_in(zipped(b"") * 99 + zipped(BODY), "gzip") == "t-1"
    with pytest.raises(api.SubmissionUnknown, match="expands too much"):
        id_in(zipped(b"") * 100 + zipped(BODY), "gzip")


def test_a_compressed_response_may_expand_to_sixteen_mebibytes_that_are_compressed_again() -> None:
    def named(size: int) -> bytes:
        """Compress the body to this size, most of which is the name of a file."""
        packed = io.BytesIO()
        with gzip.GzipFile("x" * (size - len(zipped(BODY)) - 1), "wb", fileobj=packed) as file:
            file.write(BODY)
        return packed.getvalue()

    assert id_in(zipped(named(16 << 20)), "gzip, gzip") == "t-1"
    with pytest.raises(api.SubmissionUnknown, match="expands too much"):
        id_in(zipped(named((16 << 20) + 1)), "gzip, gzip")


def test_a_compressed_response_that_is_damaged_right_after_its_header_is_unreadable() -> None:
    with pytest.raises(api.SubmissionUnknown, match="invalid block type"):
        id_in(zlib.compress(BODY)[:2] + b"\x07", "deflate")


def test_a_compressed_response_keeps_an_id_in_its_first_4096_bytes_whatever_follows() -> None:
    header, damage = b"\x78\x01", b"\x07"
    size = 4096 - len(header) - 5
    content = b'"taskId": "t-1"'.rjust(size).replace(b" ", b"{", 1)
    stored = b"\0" + size.to_bytes(2, "little") + (~size & 0xFFFF).to_bytes(2, "little")
    with pytest.raises(api.SubmissionUnknown) as caught:
        id_in(header + stored + content + damage, "deflate")
    assert caught.value.task_id == "t-1"


@either
def test_a_download_rejects_a_compressed_image_without_reading_it(is_async: bool) -> None:
    bomb = response(200, zipped(b" " * 10_000_000, 2), "Content-Encoding: gzip, gzip")
    with FaultServer(Fault("a bomb", bomb)) as server:
        kind: Any = AsyncTaskResult if is_async else TaskResult
        result = kind("t-1", "completed", {"result": {"imageUrls": [f"{server.url}/a.png"]}})
        tracemalloc.start()
        try:
            with pytest.raises(api.DownloadError, match="Content-Encoding 'gzip, gzip'") as caught:
                asyncio.run(result.read(max_bytes=1000)) if is_async else result.read(
                    max_bytes=1000
                )
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()
    assert caught.value.task_id == "t-1"
    assert b"accept-encoding: identity" in server.requests[0].lower()


def test_an_attempt_given_up_before_its_worker_starts_sends_nothing(
    join_workers: Callable[[], None],
) -> None:
    charged: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        charged.append(request)
        return httpx.Response(201, json=ID)

    transport = httpx.MockTransport(handle)
    with pytest.raises(api.NanoBananaError) as caught:
        call(NOWHERE, is_async=False, transport=transport, settings={"timeout": 0})
    join_workers()
    is_unknown = isinstance(caught.value, api.SubmissionUnknown)
    assert not charged or (len(charged) == 1 and is_unknown)


@either
def test_an_exception_that_causes_itself_is_a_documented_error(is_async: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        error = httpx.ReadError("loop")
        raise error from error

    with pytest.raises(api.SubmissionUnknown, match="ReadError: loop"):
        call(NOWHERE, is_async=is_async, transport=httpx.MockTransport(handle))


@either
@pytest.mark.parametrize("is_hook", [False, True], ids=["transport", "hook"])
def test_a_status_error_whose_response_has_no_request_is_a_documented_error(
    is_hook: bool, is_async: bool
) -> None:
    def fail(_: Any) -> Any:
        request = httpx.Request("GET", "http://a")
        response = httpx.Response(503, extensions={"network_stream": object()})
        raise httpx.HTTPStatusError("x", request=request, response=response)

    transport = httpx.MockTransport((lambda _: httpx.Response(201, json=ID)) if is_hook else fail)
    hooks = {"response": fail} if is_hook else {}
    with pytest.raises(api.SubmissionUnknown, match="HTTPStatusError: x"):
        call(NOWHERE, is_async=is_async, transport=transport, hooks=hooks)


@either
def test_the_cause_of_a_hooks_own_error_does_not_hold_the_key(is_async: bool) -> None:
    class Mine(Exception):
        pass

    def hook(received: httpx.Response) -> None:
        try:
            received.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise Mine("no") from error

    with (
        FaultServer(Fault("no", response(400))) as server,
        pytest.raises(api.NanoBananaError) as caught,
    ):
        call(server.url, is_async=is_async, hooks={"response": hook})
    assert_no_key(caught.value)


@either
@pytest.mark.parametrize("status", [407, 502])
def test_a_proxy_that_refuses_to_connect_means_that_nothing_was_sent(
    status: int, is_async: bool
) -> None:
    with (
        FaultServer(Fault("refuses", response(status))) as proxy,
        pytest.raises(api.APIConnectionError, match="not sent"),
    ):
        call("https://api.example", is_async=is_async, proxy=proxy.url)


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


# Its first half hardly compresses, and its second half compresses to almost nothing.
LONG = json.dumps(
    {"noise": random.Random(1).randbytes(20_000).hex(), "pad": " " * 200_000, "taskId": "t-1"}
).encode()


@either
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", _raw_deflate(b'{"taskId": "t-1"}')),
        ("deflate", zlib.compress(b'{"taskId": "t-1"}')),
        ("gzip", gzip.compress(b'{"taskId"') + gzip.compress(b': "t-1"}')),
        ("gzip", gzip.compress(LONG)),
        ("gzip", gzip.compress(LONG[:-20]) + gzip.compress(LONG[-20:])),
        ("klingon", b'{"taskId": "t-1"}'),
    ],
    ids=["raw deflate", "deflate", "two members", "long", "two long members", "unknown"],
)
def test_an_encoded_response_keeps_its_id(encoding: str, body: bytes, is_async: bool) -> None:
    fault = Fault("encoded", response(201, body, f"Content-Encoding: {encoding}"), charges=True)
    with FaultServer(fault) as server:
        assert call(server.url, is_async=is_async).id == "t-1"


@either
def test_a_damaged_end_of_an_encoded_response_does_not_lose_the_id(is_async: bool) -> None:
    body = bytearray(gzip.compress(json.dumps(ID).encode()))
    body[-6] ^= 1
    fault = Fault("damaged", response(201, bytes(body), "Content-Encoding: gzip"), charges=True)
    with FaultServer(fault) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=is_async)
    assert caught.value.task_id == "t-1"


class _Odd(httpx.TransportError):
    def __init__(self, code: int) -> None:
        super().__init__({1: "one"}[code])


class _Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")


@either
@pytest.mark.parametrize("make", [lambda: _Odd(1), _Mute], ids=["no copy", "no text"])
def test_an_odd_exception_of_a_transport_is_a_documented_error(
    make: Callable[[], Exception], is_async: bool
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise make()

    with pytest.raises(api.SubmissionUnknown):
        call(NOWHERE, is_async=is_async, transport=httpx.MockTransport(handle))


def test_an_error_of_a_signal_handler_gives_the_attempt_up(
    monkeypatch: pytest.MonkeyPatch, join_workers: Callable[[], None]
) -> None:
    look_up, returns, looks = socket.getaddrinfo, threading.Event(), threading.Event()
    is_handled = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        looks.set()
        returns.wait(5)
        return look_up(*arguments, **options)

    def interrupt() -> None:
        looks.wait(5)
        # Python handles a signal that arrives just before a wait after that wait, or with the next.
        for _ in range(100):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            if is_handled.wait(0.01):
                break

    def fail(*_: object) -> None:
        if not is_handled.is_set():
            is_handled.set()
            raise RuntimeError("alarm")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    before = signal.signal(signal.SIGALRM, fail)
    thread = threading.Thread(target=interrupt)
    try:
        with (
            FaultServer(CREATED) as server,
            httpx.Client(trust_env=False) as http,
            NanoBanana(KEY, base_url=server.url, http_client=http, timeout=5) as banana,
        ):
            thread.start()
            with pytest.raises(RuntimeError, match="alarm") as caught:
                banana.generate("a cat")
            returns.set()
            join_workers()
            assert server.posts == 0
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)
    assert caught.value.__notes__ == ["a submission was interrupted, and nothing was charged"]


def test_an_attempt_given_up_is_not_sent_again_on_another_connection(
    join_workers: Callable[[], None],
) -> None:
    is_given_up = threading.Event()

    def late_goaway(state: H2Connection, stream: int) -> bytes:
        assert is_given_up.wait(5)
        return http2.goaway(1)(state, stream)

    # The pings keep the read timeout from striking before the deadline. httpcore itself sends a
    # request again if GOAWAY says that it was not processed.
    late = http2.Reply((*[http2.PING] * 40, late_goaway), trickles=True, then="closes")
    fault = http2.Http2Fault("a late GOAWAY", [http2.BUSY, late, http2.CREATED])
    settings: Any = {"timeout": SHORT, "clock": InstantClock()}
    with (
        http2.Http2FaultServer(fault) as server,
        httpx.Client(http1=False, http2=True) as http,
    ):
        client = NanoBanana(KEY, base_url=server.url, http_client=http, **settings)
        with pytest.raises(api.SubmissionUnknown):
            client.generate("a cat")
        is_given_up.set()
        join_workers()
    assert (server.posts, server.charged) == (2, 0)


class Connection:
    """Notes whether it was shut down."""

    is_shut_down = False

    def get_extra_info(self, _: str) -> None:
        self.is_shut_down = True


@pytest.mark.parametrize(
    ("events", "is_ours"),
    [
        (["http11.send_request_headers.started"], True),
        (["http11.send_request_headers.started", "http11.send_request_headers.complete"], True),
        (["http11.send_request_headers.started", "http11.response_closed.started"], False),
        (["http2.send_request_headers.started"], False),
        (
            [
                "socks.setup_socks5_connection.started",
                "socks.setup_socks5_connection.complete",
                "http2.send_request_headers.started",
            ],
            False,
        ),
    ],
)
def test_giving_up_cuts_a_connection_unless_others_may_use_it(
    events: Sequence[str], is_ours: bool
) -> None:
    connection, exchange = Connection(), Exchange(max_bytes=1)
    exchange.start(is_observable=True)
    exchange.trace("connection.connect_tcp.started", {})
    exchange.trace("connection.connect_tcp.complete", {"return_value": connection})
    for event in events:
        exchange.trace(event, {})
    exchange.abandon(KeyboardInterrupt())
    assert connection.is_shut_down is is_ours


@pytest.mark.parametrize(
    ("version", "is_read", "is_ours"),
    [(b"HTTP/1.1", False, True), (b"HTTP/1.1", True, False), (b"HTTP/2", False, False)],
)
def test_giving_up_cuts_the_connection_of_a_response_unless_others_may_use_it(
    version: bytes, is_read: bool, is_ours: bool
) -> None:
    connection, exchange = Connection(), Exchange(max_bytes=1000)
    extensions = {"http_version": version, "network_stream": connection}
    received = httpx.Response(201, content=iter([BODY]), extensions=extensions)
    if is_read:  # by a hook
        received.read()
    exchange.start(is_observable=True)
    exchange.receive(received)
    exchange.abandon(KeyboardInterrupt())
    assert connection.is_shut_down is is_ours


@pytest.mark.parametrize(
    ("status", "is_accepted"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_a_response_says_that_a_request_was_accepted_if_its_status_is_a_success(
    status: int, is_accepted: bool
) -> None:
    exchange = Exchange(max_bytes=1)
    exchange.start(is_observable=True)
    exchange.receive(httpx.Response(status))
    assert exchange.is_accepted is is_accepted


def test_a_late_response_is_read_for_some_kilobytes_at_most() -> None:
    kilobytes, exchange = 0, Exchange(max_bytes=100_000, on_late_response=lambda _: None)
    exchange.start(is_observable=True)
    exchange.receive(httpx.Response(201))
    exchange.abandon(KeyboardInterrupt())
    with suppress(Abandoned):
        for _ in range(100):
            exchange.add(b" " * 1024)
            kilobytes += 1
    assert 10 <= kilobytes < 20


@either
def test_a_status_error_whose_body_is_too_long_has_that_as_its_cause(is_async: bool) -> None:
    def hook(received: httpx.Response) -> None:
        received.read()
        received.raise_for_status()

    async def hook_async(received: httpx.Response) -> None:
        await received.aread()
        received.raise_for_status()

    fault = Fault("long", response(400, b" " * (9 << 20)))
    hooks: Any = [hook_async if is_async else hook]
    with FaultServer(fault) as server, pytest.raises(api.BadRequestError) as caught:
        call(server.url, is_async=is_async, event_hooks={"response": hooks})
    assert "longer than" in str(caught.value.__cause__)


@pytest.mark.parametrize("has_a_job", [False, True])
def test_an_idle_worker_ends(monkeypatch: pytest.MonkeyPatch, has_a_job: bool) -> None:
    monkeypatch.setattr(_threads, "IDLE_SECONDS", 0.01)
    worker = _threads._Worker()
    worker.start()
    if has_a_job:
        worker.jobs.put(lambda: None)
    worker.join(5)
    assert not worker.is_alive()
    assert worker not in _threads._idle


def test_an_abandoned_attempt_does_not_keep_the_program_from_ending() -> None:
    program = """
        import threading, httpx
        from mountsea_banana import NanoBanana, SubmissionUnknown

        transport = httpx.MockTransport(lambda _: threading.Event().wait())
        http = httpx.Client(transport=transport)
        client = NanoBanana("k", timeout=httpx.Timeout(0.01), http_client=http)
        try:
            client.generate("a cat")
        except SubmissionUnknown:
            pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


FORKS = """
import os, sys, time
from mountsea_banana import NanoBanana
from mountsea_banana.client import _threads

def submit():
    with NanoBanana(sys.argv[1], base_url=sys.argv[2], timeout=5) as banana:
        return banana.generate("a cat").id

submit()  # leaves an idle worker behind, which does not exist in the child
while not _threads._idle:
    time.sleep(0.001)
child = os.fork()
if not child:
    os._exit(0 if submit() == "t-1" else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_workers_of_its_own() -> None:
    with FaultServer(CREATED) as server:
        command = [sys.executable, "-c", FORKS, KEY, server.url]
        subprocess.run(command, check=True, timeout=60)
    assert server.charged == 2


@either
@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(gzip.compress(b"") * 20_000),
        gzip.compress(gzip.compress(b" " * (17 << 20))),
    ],
    ids=["empty members", "spaces"],
)
def test_nested_encodings_cannot_expand_without_bounds(body: bytes, is_async: bool) -> None:
    fault = Fault("nested", response(201, body, "Content-Encoding: gzip, gzip"), charges=True)
    with FaultServer(fault) as server, pytest.raises(api.SubmissionUnknown):
        call(server.url, is_async=is_async)


class Failover(httpx.BaseTransport):
    """Sends a request without its extensions to another server if the first is down."""

    def __init__(self, backup: str) -> None:
        self._transport = httpx.HTTPTransport()
        self._backup = backup

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._transport.handle_request(request)
        except httpx.TransportError as first:
            url = self._backup + request.url.path
            again = httpx.Request("POST", url, headers=request.headers, content=request.content)
            try:
                return self._transport.handle_request(again)
            except httpx.TransportError:
                raise first from first.__cause__


def test_a_transport_with_ways_of_its_own_is_never_trusted_to_have_sent_nothing() -> None:
    with FaultServer(Fault("drops", charges=True)) as server:
        http = httpx.Client(transport=Failover(server.url))
        client = NanoBanana(KEY, base_url=NOWHERE, http_client=http, clock=InstantClock())
        with pytest.raises(api.SubmissionUnknown):
            client.generate("a cat")
    assert (server.posts, server.charged) == (1, 1)


def test_a_shielded_request_that_outlives_its_cancellation_does_not_leave() -> None:
    class Shield(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.task = asyncio.ensure_future(super().handle_async_request(request))
            return await asyncio.shield(self.task)

    async def run(url: str) -> BaseException:
        transport, looks = Shield(), asyncio.Event()
        loop = asyncio.get_running_loop()
        look_up, returns = loop.getaddrinfo, asyncio.Event()

        async def slow(*arguments: Any, **options: Any) -> Any:
            looks.set()
            await returns.wait()
            return await look_up(*arguments, **options)

        loop.getaddrinfo = slow  # type: ignore[method-assign]
        http = httpx.AsyncClient(transport=transport)
        client = AsyncNanoBanana(KEY, base_url=url, http_client=http)
        submission = asyncio.create_task(client.generate("a cat"))
        await looks.wait()
        submission.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await submission
        returns.set()
        with pytest.raises(Abandoned):
            await transport.task
        return caught.value

    with FaultServer(CREATED) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        interrupt = asyncio.run(run(url))
    assert "may have been accepted and charged" in interrupt.__notes__[0]
    assert (server.posts, server.charged) == (0, 0)


def read(raw: Mapping[str, Any], *, is_async: bool) -> bytes:
    if is_async:
        return asyncio.run(AsyncTaskResult("t-1", "completed", raw).read())
    return TaskResult("t-1", "completed", raw).read()


@either
def test_the_body_of_a_redirect_is_not_read(is_async: bool) -> None:
    redirect = response(302, b" " * 100, "Location: /b", length=10**9)
    image = response(200, PNG, "Content-Type: image/png")
    redirects = [Fault("redirect", redirect)] * 2
    with FaultServer(*redirects, Fault("image", image)) as server:
        raw = {"result": {"imageUrls": [f"{server.url}/a.png"]}}
        content = read(raw, is_async=is_async)
    assert content == PNG
    assert [each.split()[1] for each in server.requests] == [b"/a.png", b"/b", b"/b"]


@either
def test_endless_redirects_end(is_async: bool) -> None:
    with FaultServer(Fault("redirect", response(302, b"", "Location: /a.png"))) as server:
        raw = {"result": {"imageUrls": [f"{server.url}/a.png"]}}
        with pytest.raises(api.DownloadError, match="302"):
            read(raw, is_async=is_async)
    assert len(server.requests) == 21


def test_downloads_keep_no_cookies() -> None:
    image = response(200, PNG, "Content-Type: image/png", "Set-Cookie: a=b")
    with FaultServer(Fault("image", image)) as server, NanoBanana(KEY, base_url=NOWHERE) as banana:
        for _ in range(2):
            raw = {"result": {"imageUrls": [f"{server.url}/a.png"]}}
            TaskResult("t-1", "completed", raw, banana._driver.downloader).read()
    assert not [each for each in server.requests if b"cookie" in each.lower()]


@either
def test_what_an_exception_of_a_transport_holds_is_not_reachable(is_async: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        key = request.headers["Authorization"]
        raise ExceptionGroup("all failed", [ValueError(f"bad header {key}")])

    with pytest.raises(api.SubmissionUnknown) as caught:
        call(NOWHERE, is_async=is_async, transport=httpx.MockTransport(handle))
    assert KEY not in repr(caught.value.__cause__)
    assert_no_key(caught.value)


class _Wild(Exception):
    @property
    def response(self) -> object:
        raise ValueError("none")


@either
def test_an_exception_with_a_wild_response_is_a_documented_error(is_async: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise _Wild("x")

    with pytest.raises(api.SubmissionUnknown, match="_Wild: x"):
        call(NOWHERE, is_async=is_async, transport=httpx.MockTransport(handle))


def test_image_checks_at_the_shutdown_of_the_interpreter_are_made_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pool:
        def __init__(self, _: int) -> None:
            pass

        def map(self, *_: object) -> object:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Pool)
    image = response(200, PNG, "Content-Type: image/png")
    with (
        FaultServer(Fault("image", image)) as images,
        FaultServer(CREATED) as server,
        NanoBanana(KEY, base_url=server.url) as banana,
    ):
        urls = [f"{images.url}/a.png", f"{images.url}/b.png"]
        assert banana.edit("red", urls, check_images=True).id == "t-1"


def test_a_background_task_of_a_hook_logs_undisturbed_after_the_exchange(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "hpack.hpack")

    async def run(url: str) -> None:
        is_over, tasks = asyncio.Event(), []

        async def log() -> None:
            await is_over.wait()
            logging.getLogger("hpack.hpack").debug("a block of %s", "theirs")

        async def hook(_: httpx.Request) -> None:
            tasks.append(asyncio.create_task(log()))

        async with (
            httpx.AsyncClient(event_hooks={"request": [hook]}) as http,
            AsyncNanoBanana(KEY, base_url=url, http_client=http) as banana,
        ):
            await banana.generate("a cat")
        is_over.set()
        await asyncio.gather(*tasks)

    with FaultServer(CREATED) as server:
        asyncio.run(run(server.url))
    # asyncio may report a task of another test that is collected meanwhile.
    logged = [each.getMessage() for each in caplog.records if each.name != "asyncio"]
    assert logged == ["a block of theirs"]


# Clients that send in ways of their own.


def replace_send(http: Any, send: Callable[..., Any]) -> None:
    http.send = send


def replace_handle_request(http: Any, send: Callable[..., Any]) -> None:
    transport = http._transport
    original = transport.handle_request

    def handle(request: httpx.Request) -> httpx.Response:
        return send(request, primary=original)  # type: ignore[no-any-return]

    transport.handle_request = handle


def replace_pool(http: Any, send: Callable[..., Any]) -> None:
    class Pool:
        def __init__(self, pool: Any) -> None:
            self._pool = pool

        def handle_request(self, request: Any) -> Any:
            return send(request, primary=self._pool.handle_request)

        def __exit__(self, *details: Any) -> None:
            self._pool.__exit__(*details)

    http._transport._pool = Pool(http._transport._pool)


@pytest.mark.parametrize(
    "replace", [replace_send, replace_handle_request, replace_pool], ids=lambda each: each.__name__
)
def test_a_client_with_a_failover_of_its_own_is_charged_once(
    replace: Callable[..., None],
) -> None:
    with (
        FaultServer(Fault("charged, then dropped", b"", charges=True)) as backup,
        httpx.Client(**DEFAULT_HTTP) as http,
    ):
        original = http.send

        def send(request: Any, primary: Callable[..., Any] = original, **options: Any) -> Any:
            try:
                return primary(request, **options)
            except (httpx.ConnectError, httpcore.ConnectError) as first:
                with suppress(httpx.HTTPError):
                    httpx.post(backup.url, content=b"{}")
                raise first

        replace(http, send)
        banana = NanoBanana(KEY, base_url=NOWHERE, http_client=http, clock=InstantClock())
        with pytest.raises(api.SubmissionUnknown):
            banana.generate("a cat")
        assert backup.posts == 1


@either
def test_a_request_hook_that_moves_a_submission_to_another_transport_is_charged_once(
    is_async: bool,
) -> None:
    charged = []

    def handle(request: httpx.Request) -> httpx.Response:
        charged.append(request)
        report = request.extensions["trace"]
        raise httpx.ConnectError("the backup is down too") from httpcore.ConnectError(repr(report))

    def move(request: httpx.Request) -> None:
        request.url = httpx.URL("http://backup.example/")

    with pytest.raises(api.SubmissionUnknown):
        call(
            NOWHERE,
            is_async=is_async,
            hooks={"request": move},
            mounts={"http://backup.example": httpx.MockTransport(handle)},
        )
    assert len(charged) == 1


def test_a_failed_attempt_of_a_request_hook_says_nothing_about_its_next_one() -> None:
    def hook(request: httpx.Request) -> None:
        with suppress(httpx.ConnectError):
            other.post(NOWHERE, extensions=request.extensions)
        other.post(server.url)
        raise ValueError("both servers failed")

    with (
        FaultServer(CREATED) as server,
        httpx.Client(**DEFAULT_HTTP) as other,
        pytest.raises(api.SubmissionUnknown),
    ):
        call(server.url, is_async=False, hooks={"request": hook})
    assert (server.posts, server.charged) == (1, 1)


# Interrupts that are errors of this package, or come twice.


def test_an_error_of_a_signal_handler_does_not_hide_that_a_submission_may_be_charged(
    join_workers: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    received = threading.Event()

    def handler(*_: object) -> None:
        raise api.APIConnectionError("the poll of task t-9 got no response", task_id="t-9")

    def press() -> None:
        assert received.wait(5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    helper = threading.Thread(target=press)
    helper.start()
    try:
        with FaultServer(HALF) as server, pytest.raises(api.SubmissionUnknown) as caught:
            call(server.url, is_async=False, transport=WatchedTransport(received.set))
    finally:
        signal.signal(signal.SIGUSR1, before)
    helper.join()
    assert caught.value.task_id == "t-1"
    assert isinstance(caught.value.__cause__, api.APIConnectionError)
    join_workers()


def test_an_exchange_that_was_not_abandoned_may_still_leave() -> None:
    exchange = Exchange(max_bytes=1)
    assert not exchange.may_have_left
    exchange.hand_over()
    assert exchange.may_have_left
    exchange.abandon(KeyboardInterrupt())
    assert not exchange.may_have_left


def test_a_request_with_a_response_has_left_whatever_was_reported() -> None:
    exchange = Exchange(max_bytes=1)
    exchange.start(is_observable=True)
    exchange.trace("connection.connect_tcp.started", {})
    exchange.receive(httpx.Response(201))
    exchange.abandon(KeyboardInterrupt())
    assert exchange.may_have_left


def test_a_request_may_have_left_in_another_way_after_a_reported_failure() -> None:
    exchange = Exchange(max_bytes=1)
    exchange.start(is_observable=True)
    exchange.trace("connection.connect_tcp.started", {})
    exchange.trace("connection.connect_tcp.failed", {"exception": httpcore.ConnectError()})
    exchange.abandon(KeyboardInterrupt())
    assert exchange.may_have_left


def test_a_transport_that_was_ever_unobservable_is_not_trusted() -> None:
    exchange = Exchange(max_bytes=1)
    exchange.start(is_observable=False)
    exchange.trace("connection.connect_tcp.started", {})
    exchange.check(is_observable=True)
    exchange.end(httpcore.ConnectError())
    assert exchange.may_have_left


# What servers and hooks do to the id and the key.


def test_a_hook_that_logs_wrongly_does_not_end_a_submission() -> None:
    def log(_: httpx.Response) -> None:
        logger = logging.getLogger("httpx")
        record = logging.LogRecord("httpx", logging.INFO, "", 0, "%d", ("Created",), None)
        assert logger.filter(record)

    with FaultServer(CREATED) as server:
        assert call(server.url, is_async=False, hooks={"response": log}).id == "t-1"


@pytest.mark.parametrize("escaped", [r"ab\/cd==", r"ab\u002Fcd=="])
def test_an_escaped_id_in_a_response_that_breaks_off_is_read(escaped: str) -> None:
    body = f'{{"taskId": "{escaped}", "sta'.encode()
    fault = Fault("broken off", response(201, body, JSON, length=999), charges=True)
    with FaultServer(fault) as server, pytest.raises(api.SubmissionUnknown) as caught:
        call(server.url, is_async=False)
    assert caught.value.task_id == "ab/cd=="


@either
@pytest.mark.parametrize(
    "echo",
    [
        "".join(f"&#x{ord(char):x};" for char in KEY),
        "".join(f"&#{ord(char)};" for char in KEY),
        "".join(f"\\x{ord(char):02x}" for char in KEY),
    ],
)
def test_a_key_that_is_escaped_like_a_script_or_a_page_is_redacted(
    echo: str, is_async: bool
) -> None:
    fault = Fault("echo", response(400, f"bad key {echo}!".encode()))
    with FaultServer(fault) as server, pytest.raises(api.BadRequestError) as caught:
        call(server.url, is_async=is_async)
    assert caught.value.body == "bad key [redacted]!"


def test_a_key_that_a_response_breaks_off_in_is_redacted() -> None:
    fault = Fault("echo", response(400, f"bad key {KEY[:-1]}".encode(), length=999))
    with FaultServer(fault) as server, pytest.raises(api.BadRequestError) as caught:
        call(server.url, is_async=False)
    assert caught.value.body == "bad key [redacted]"


@either
@pytest.mark.parametrize("echo", [KEY, KEY.upper()])
def test_a_key_in_what_ends_an_http2_connection_is_redacted(
    is_async: bool, echo: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore.http2")
    last = GoAwayFrame(last_stream_id=1, error_code=11, additional_data=f"{echo} is bad".encode())
    reply = http2.Reply((http2.raw(last.serialize()),), charges=True)
    with (
        http2.Http2FaultServer(http2.Http2Fault("the key in GOAWAY", [reply])) as server,
        pytest.raises(api.SubmissionUnknown, match=r"additional_data:\[redacted\]>") as caught,
    ):
        call(server.url, is_async=is_async, http1=False, http2=True)
    start = echo[:6].encode().hex()
    assert start not in str(caught.value)
    assert start not in str(caught.value.__cause__)
    assert "additional_data:[redacted]" in caplog.text
    assert start not in caplog.text


@either
@pytest.mark.parametrize("timeout", [float("inf"), 1e10, httpx.Timeout(5, connect=1e300)])
def test_a_timeout_may_be_longer_than_a_socket_can_wait(timeout: Any, is_async: bool) -> None:
    with FaultServer(CREATED) as server:
        task = call(server.url, is_async=is_async, settings={"timeout": timeout})
    assert task.id == "t-1"


@pytest.fixture
def connecting() -> Iterator[tuple[Exchange, socket.socket, socket.socket]]:
    """An exchange that has opened a connection, and both ends of it."""

    class Stream:
        def get_extra_info(self, _: str) -> socket.socket:
            return ours

    ours, theirs = socket.socketpair()
    with ours, theirs:
        exchange = Exchange(max_bytes=1000)
        exchange.start(is_observable=True)
        exchange.trace("connection.connect_tcp.complete", {"return_value": Stream()})
        yield exchange, ours, theirs


def test_an_exchange_that_is_given_up_cuts_a_connection_to_a_proxy_that_is_silent(
    connecting: tuple[Exchange, socket.socket, socket.socket],
) -> None:
    """httpcore waits for a SOCKS proxy without a timeout."""
    exchange, _, theirs = connecting
    exchange.trace("socks.setup_socks5_connection.started", {})
    exchange.abandon(TimeoutError())
    theirs.settimeout(10)
    assert theirs.recv(1) == b""
    assert not exchange.may_have_left


def test_an_exchange_that_is_given_up_leaves_a_connection_that_another_one_may_use(
    connecting: tuple[Exchange, socket.socket, socket.socket],
) -> None:
    exchange, ours, theirs = connecting
    exchange.abandon(TimeoutError())
    ours.send(b"x")
    assert theirs.recv(1) == b"x"


@pytest.mark.parametrize("phase", [-1, float("nan"), "5"])
def test_an_invalid_phase_of_a_timeout_is_a_configuration_error(phase: Any) -> None:
    with pytest.raises(api.ConfigurationError, match="a timeout must be 0 or more seconds"):
        NanoBanana(KEY, timeout=httpx.Timeout(phase))


def test_no_thread_starts_once_the_interpreter_is_shutting_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    with FaultServer(CREATED) as server, pytest.raises(api.APIConnectionError) as caught:
        call(server.url, is_async=False)
    assert "the interpreter is shutting down" in str(caught.value)
    assert server.posts == 0
