"""Every decision at its boundary: the last value on one side and the first on the other.

The responses come from httpx's mock transport, so that `make mutants` can run these tests against a
thousand small changes of the code in minutes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import html
import inspect
import json
import logging
import os
import pickle
import reprlib
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import UserList
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import httpx
import mountsea_banana as api
import pytest
from mountsea_api.models import NanoImageDto
from mountsea_banana import (
    AsyncNanoBanana,
    Clock,
    Hint,
    InstantClock,
    NanoBanana,
    TaskResult,
    Violation,
    check_request,
)
from mountsea_banana.cli._outputs import obstacle
from mountsea_banana.client import _flows, _requests, _responses, _threads
from mountsea_banana.client._exchange import RawResponse
from mountsea_banana.client._redaction import Redactor
from mountsea_banana.client._steps import Flow
from mountsea_banana.rules import _rules

from tests import drift
from tests.conftest import KEY

PNG = b"\x89PNG\r\n\x1a\n"
URL = "https://images.example/a.png"
# Created once, because it takes longer than a test.
TLS = httpx.create_ssl_context()


class Web:
    """A fake server that returns its responses in order and repeats the last one forever."""

    def __init__(self) -> None:
        self.responses: list[Callable[[], httpx.Response]] = []
        self.requests: list[httpx.Request] = []

    def add_response(self, status: int = 200, **options: Any) -> None:
        """Add a response; `options` are those of `httpx.Response`."""
        self.responses.append(lambda: httpx.Response(status, **options))

    def add_exception(self, error: Exception, *, is_reported: bool = False) -> None:
        """Raise an exception instead of the next response.

        An exception that `is_reported` is one that httpcore reports before it sends the request.
        """

        def fail() -> httpx.Response:
            if not is_reported:
                raise error
            trace = self.requests[-1].extensions["trace"]
            cause = OSError("the reason")
            trace("connection.connect_tcp.started", {})
            trace("connection.connect_tcp.failed", {"exception": cause})
            raise error from cause

        self.responses.append(fail)

    def add_snapshot(self, status: str, **fields: object) -> None:
        """Add the response to a poll of the task `t-1`."""
        self.add_response(json={"taskId": "t-1", "status": status, **fields})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return (self.responses.pop(0) if len(self.responses) > 1 else self.responses[0])()


class Broken(httpx.SyncByteStream):
    """A response body that breaks off after `start`."""

    def __init__(self, start: bytes, reason: str = "cut") -> None:
        self._start, self._reason = start, reason

    def __iter__(self) -> Any:
        yield self._start
        raise httpx.ReadError(self._reason)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The server that every synchronous httpx client talks to."""
    web = Web()
    original = httpx.Client

    class Client(original):  # type: ignore[misc, valid-type]
        def __init__(self, **options: Any) -> None:
            super().__init__(transport=httpx.HTTPTransport(verify=TLS), **options)

    monkeypatch.setattr(httpx, "Client", Client)
    # The client trusts no other transport to report what it does.
    handle = httpx.MockTransport(web).handle_request
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: handle(request))
    return web


@pytest.fixture
def make_client(web: Web, clock: InstantClock) -> Callable[..., NanoBanana]:
    """Return a function that creates a client of `web`, which never really sleeps."""

    def make(**options: Any) -> NanoBanana:
        return NanoBanana(
            **{"api_key": KEY, "base_url": "https://api.example", "clock": clock, **options}
        )

    return make


@pytest.fixture
def banana(make_client: Callable[..., NanoBanana]) -> NanoBanana:
    return make_client()


either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def call(web: Web, clock: Clock | None, method: Callable[[Any], Any], *, is_async: bool) -> Any:
    """Call `method` with a client of `web`; return its result, awaited if `is_async`."""
    options: Any = {"base_url": "https://api.example", "clock": clock}
    if not is_async:
        return method(NanoBanana(KEY, **options))

    async def run() -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(web)) as http:
            return await method(AsyncNanoBanana(KEY, http_client=http, **options))

    return asyncio.run(run())


def wait(web: Web, clock: Clock, *, is_async: bool, **options: Any) -> TaskResult:
    """Return the result of `wait` for the task `t-1`, from a client of `web`."""
    result: TaskResult = call(
        web, clock, lambda client: client.task("t-1").wait(**options), is_async=is_async
    )
    return result


def raises(error: type[BaseException]) -> Callable[..., Any]:
    """Return a function that raises an error whatever its arguments are."""

    def fail(*args: object) -> None:
        raise error

    return fail


DONE = {"imageUrls": [URL]}


# Retries.


def test_retry_delays_double_up_to_eight_seconds(
    web: Web, make_client: Callable[..., NanoBanana], clock: InstantClock
) -> None:
    web.add_response(429)
    with pytest.raises(api.RateLimitError):
        make_client(max_retries=7).generate("a cat")
    assert clock.sleeps == [0.4375, 0.875, 1.75, 3.5, 7.0, 7.0, 7.0]
    assert len(web.requests) == 8


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.375), (1.0, 0.5)])
def test_jitter_shortens_a_retry_delay_by_up_to_a_quarter(
    web: Web,
    banana: NanoBanana,
    clock: InstantClock,
    monkeypatch: pytest.MonkeyPatch,
    jitter: float,
    pause: float,
) -> None:
    monkeypatch.setattr(clock, "jitter", lambda: jitter)
    web.add_response(429)
    web.add_response(201, json={"taskId": "t-1"})
    assert banana.generate("a cat").id == "t-1"
    assert clock.sleeps == [pause]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_request_is_retried_up_to_max_retries_times(
    web: Web, make_client: Callable[..., NanoBanana], clock: InstantClock, retries: int
) -> None:
    web.add_response(429)
    with pytest.raises(api.RateLimitError):
        make_client(max_retries=retries).generate("a cat")
    assert (len(web.requests), len(clock.sleeps)) == (1 + retries, retries)


NOW = 1_700_000_000  # the time of an InstantClock


def http_date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("header", "sleeps", "retry_after"),
    [
        ("0", [0.0], 0.0),
        ("1", [1.0], 1.0),
        (" 7 ", [7.0], 7.0),
        ("60", [60.0], 60.0),
        ("61", [], 61.0),
        (http_date(NOW + 30), [30.0], 0.0),  # reached after the sleep
        (http_date(NOW - 30), [0.0], 0.0),
        (http_date(NOW + 61), [], 61.0),
        ("", [0.4375], None),
        ("1.5", [0.4375], None),
        ("-1", [0.4375], None),
        ("soon", [0.4375], None),
        ("\u00b2".encode("latin-1"), [0.4375], None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", [0.4375], None),
    ],
)
def test_retry_after_is_honoured_up_to_a_minute_and_ignored_if_malformed(
    web: Web,
    make_client: Callable[..., NanoBanana],
    clock: InstantClock,
    header: str | bytes,
    sleeps: list[float],
    retry_after: float | None,
) -> None:
    web.add_response(
        429, headers={b"Retry-After": header.encode() if isinstance(header, str) else header}
    )
    with pytest.raises(api.RateLimitError) as caught:
        make_client(max_retries=1).generate("a cat")
    assert clock.sleeps == sleeps
    assert caught.value.retry_after == retry_after


SUBMITTED: list[tuple[int, bool, type[Exception], bool]] = [
    (99, False, api.SubmissionServerError, False),
    (199, True, api.SubmissionServerError, False),
    (300, False, api.APIStatusError, False),
    (308, True, api.APIStatusError, False),
    (399, False, api.APIStatusError, False),
    (400, True, api.BadRequestError, False),
    (401, False, api.AuthenticationError, False),
    (402, False, api.APIStatusError, False),
    (403, False, api.PermissionDeniedError, False),
    (404, False, api.NotFoundError, False),
    (408, True, api.APIStatusError, False),
    (421, False, api.APIStatusError, False),
    (422, False, api.BadRequestError, False),
    (423, False, api.APIStatusError, False),
    (428, True, api.APIStatusError, False),
    (429, False, api.RateLimitError, True),
    (430, True, api.APIStatusError, False),
    (499, True, api.APIStatusError, False),
    (500, False, api.SubmissionServerError, False),
    (500, True, api.SubmissionServerError, False),
    (502, True, api.SubmissionServerError, False),
    (503, False, api.SubmissionServerError, False),
    (503, True, api.ServerError, True),
    (504, True, api.SubmissionServerError, False),
    (599, True, api.SubmissionServerError, False),
]


@pytest.mark.parametrize(("status", "has_retry_after", "kind", "is_retried"), SUBMITTED)
def test_a_submission_is_retried_only_after_429_or_503_with_retry_after(
    web: Web,
    make_client: Callable[..., NanoBanana],
    status: int,
    has_retry_after: bool,
    kind: type[api.APIStatusError],
    is_retried: bool,
) -> None:
    web.add_response(status, headers={"Retry-After": "1"} if has_retry_after else {})
    with pytest.raises(kind) as caught:
        make_client(max_retries=1).generate("a cat")
    assert type(caught.value) is kind
    assert caught.value.status_code == status
    assert len(web.requests) == (2 if is_retried else 1)
    is_unknown = isinstance(caught.value, api.SubmissionUnknown)
    assert ("may have been accepted and charged" in str(caught.value)) is is_unknown


@pytest.mark.parametrize(
    ("status", "kind", "is_retried"),
    [
        (199, api.APIStatusError, False),
        (300, api.APIStatusError, False),
        (404, api.NotFoundError, False),
        (408, api.APIStatusError, False),
        (429, api.RateLimitError, True),
        (499, api.APIStatusError, False),
        (500, api.ServerError, True),
        (503, api.ServerError, True),
        (599, api.ServerError, True),
    ],
)
def test_a_poll_is_retried_after_429_and_every_5xx(
    web: Web,
    make_client: Callable[..., NanoBanana],
    status: int,
    kind: type[api.APIStatusError],
    is_retried: bool,
) -> None:
    web.add_response(status)
    with pytest.raises(kind, match=f"task t-1: {status} ") as caught:
        make_client(max_retries=1).task("t-1").fetch()
    assert type(caught.value) is kind
    assert caught.value.task_id == "t-1"
    assert "charged" not in str(caught.value)
    assert len(web.requests) == (2 if is_retried else 1)


FAULTS: list[type[Exception]] = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    OSError,
]
QUESTION = ". No connection to https://api.example: is MOUNTSEA_BASE_URL right?"


@pytest.mark.parametrize("kind", FAULTS)
def test_a_submission_that_was_never_sent_is_retried_and_costs_nothing(
    web: Web, make_client: Callable[..., NanoBanana], kind: type[Exception]
) -> None:
    web.add_exception(kind("no way"), is_reported=True)
    message = f"the request was not sent ({kind.__name__}: no way); nothing was charged"
    with pytest.raises(api.APIConnectionError) as caught:
        make_client(max_retries=1).generate("a cat")
    assert str(caught.value) == message + (QUESTION if kind is httpx.ConnectError else "")
    assert isinstance(caught.value, api.APITimeoutError) is issubclass(kind, httpx.TimeoutException)
    assert isinstance(caught.value.__cause__, kind)
    assert len(web.requests) == 2


@pytest.mark.parametrize("kind", FAULTS)
def test_a_submission_that_may_have_been_sent_is_never_retried(
    web: Web, banana: NanoBanana, kind: type[Exception]
) -> None:
    web.add_exception(kind("gone"))
    message = (
        rf"no complete response was received \({kind.__name__}: gone\). It may have been accepted"
    )
    with pytest.raises(api.SubmissionUnknown, match=message) as caught:
        banana.generate("a cat")
    assert caught.value.task_id is None
    assert isinstance(caught.value.__cause__, kind)
    assert len(web.requests) == 1


@pytest.mark.parametrize("kind", FAULTS)
def test_a_poll_without_a_response_is_retried(
    web: Web, make_client: Callable[..., NanoBanana], kind: type[Exception]
) -> None:
    web.add_exception(kind(""))
    message = f"the poll of task t-1 got no response ({kind.__name__}); nothing was charged"
    with pytest.raises(api.APIConnectionError) as caught:
        make_client(max_retries=1).task("t-1").fetch()
    assert str(caught.value) == message + (QUESTION if kind is httpx.ConnectError else "")
    assert isinstance(caught.value, api.APITimeoutError) is issubclass(kind, httpx.TimeoutException)
    assert caught.value.task_id == "t-1"
    assert len(web.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_means_that_a_submission_was_processed_leaves_it_unknown(
    web: Web, banana: NanoBanana, status: int
) -> None:
    web.add_response(status, headers={"Location": "/gemini/task/result?taskId=t-1"})
    message = rf"^the submission got the status {status} and a redirect to /gemini/task/result"
    with pytest.raises(api.SubmissionUnknown, match=message) as caught:
        banana.generate("a cat")
    assert not isinstance(caught.value, api.APIStatusError)
    assert len(web.requests) == 1


@pytest.mark.parametrize("status", [300, 304, 305, 307, 308])
def test_any_other_redirect_is_raised_and_has_cost_nothing(
    web: Web, banana: NanoBanana, status: int
) -> None:
    web.add_response(status, headers={"Location": "/elsewhere"})
    with pytest.raises(api.APIStatusError, match=f"^{status} "):
        banana.generate("a cat")
    assert len(web.requests) == 1


@pytest.mark.parametrize("is_submission", [True, False], ids=["submission", "poll"])
def test_only_a_task_that_an_abandoned_submission_creates_is_logged(
    web: Web,
    make_client: Callable[..., NanoBanana],
    caplog: pytest.LogCaptureFixture,
    is_submission: bool,
) -> None:
    responds, is_done = threading.Event(), threading.Event()

    class Late(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b'{"taskId": "t-1", "status": "pending"}'

        def close(self) -> None:
            is_done.set()

    def respond() -> httpx.Response:
        assert responds.wait(5)
        return httpx.Response(201, stream=Late())

    web.responses.append(respond)
    client = make_client(timeout=httpx.Timeout(0.01), max_retries=0)
    with pytest.raises(api.NanoBananaError, match="DeadlinePassed"):
        client.generate("a cat") if is_submission else client.task("t-1").fetch()
    responds.set()
    assert is_done.wait(5)
    for _ in range(500):
        workers = [each for each in threading.enumerate() if each.name == "mountsea-banana"]
        if all(worker in _threads._idle for worker in workers):
            break
        threading.Event().wait(0.01)
    logged = ["an abandoned submission created task t-1: resume it by its id"]
    assert caplog.messages == (logged if is_submission else [])


def test_a_poll_with_an_incomplete_response_is_retried(web: Web, banana: NanoBanana) -> None:
    web.add_response(stream=Broken(b'{"taskId": "t-1", "status": "pending"}'))
    web.add_snapshot("pending")
    assert banana.task("t-1").fetch().status == "pending"
    assert len(web.requests) == 2


def test_an_incomplete_error_response_has_the_fault_as_its_cause(
    web: Web, banana: NanoBanana
) -> None:
    web.add_response(400, stream=Broken(b"no"))
    with pytest.raises(api.BadRequestError, match=r"400 Bad Request: no$") as caught:
        banana.generate("a cat")
    assert isinstance(caught.value.__cause__, httpx.ReadError)


@either
def test_a_client_sleeps_on_the_clock_that_was_passed_in(
    web: Web, clock: InstantClock, is_async: bool
) -> None:
    web.add_response(429, headers={"Retry-After": "30"})
    web.add_response(201, json={"taskId": "t-1"})
    task = call(web, clock, lambda client: client.generate("a cat"), is_async=is_async)
    assert task.id == "t-1"
    assert clock.sleeps == [30.0]


@either
def test_a_client_sleeps_on_the_real_clock_by_default(
    web: Web, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    sleeps = []

    async def sleep_async(_: Clock, seconds: float) -> None:
        sleeps.append(seconds)

    monkeypatch.setattr(Clock, "sleep", lambda _, seconds: sleeps.append(seconds))
    monkeypatch.setattr(Clock, "sleep_async", sleep_async)
    web.add_response(429, headers={"Retry-After": "30"})
    web.add_response(201, json={"taskId": "t-1"})
    call(web, None, lambda client: client.generate("a cat"), is_async=is_async)
    assert sleeps == [30.0]


# Waiting.


def test_pauses_grow_to_ten_seconds_and_the_last_poll_is_a_second_before_the_deadline(
    web: Web, banana: NanoBanana, clock: InstantClock
) -> None:
    web.add_snapshot("processing")
    with pytest.raises(api.WaitTimeout, match=r"^task t-1 was still running after 60 s; resume"):
        banana.task("t-1").wait(timeout=60)
    pauses = [3.375, 4.5, 5.85, 7.2, 9.0, 9.0, 9.0, 9.0]
    assert clock.sleeps == pytest.approx([*pauses, 60 - 1 - sum(pauses), 1])
    assert len(web.requests) == 10


@pytest.mark.parametrize(("jitter", "pauses"), [(0.0, [3.0, 4.0]), (1.0, [3.75, 5.0])])
def test_jitter_shortens_a_pause_between_polls_by_up_to_a_fifth(
    web: Web,
    banana: NanoBanana,
    clock: InstantClock,
    monkeypatch: pytest.MonkeyPatch,
    jitter: float,
    pauses: list[float],
) -> None:
    monkeypatch.setattr(clock, "jitter", lambda: jitter)
    for status in ("pending", "processing"):
        web.add_snapshot(status)
    web.add_snapshot("completed", result=DONE)
    assert banana.task("t-1").wait().image_urls == [URL]
    assert clock.sleeps == pytest.approx(pauses)


@pytest.mark.parametrize(
    ("timeout", "sleeps"),
    [
        (0.5, [0.5]),
        (1, [1.0]),
        (1.5, [0.5, 1.0]),
        (4.375, [3.375, 1.0]),
        (4.5, [3.375, 0.125, 1.0]),
    ],
)
def test_a_second_is_reserved_for_the_last_poll(
    web: Web, banana: NanoBanana, clock: InstantClock, timeout: float, sleeps: list[float]
) -> None:
    web.add_snapshot("pending")
    with pytest.raises(api.WaitTimeout):
        banana.task("t-1").wait(timeout=timeout)
    assert clock.sleeps == sleeps
    assert len(web.requests) == len(sleeps)


@either
def test_a_wait_of_zero_seconds_polls_once(web: Web, clock: InstantClock, is_async: bool) -> None:
    web.add_snapshot("pending")
    with pytest.raises(api.WaitTimeout, match="still running after 0 s"):
        wait(web, clock, is_async=is_async, timeout=0)
    web.add_snapshot("completed", result=DONE)
    web.responses.pop(0)
    assert wait(web, clock, is_async=is_async, timeout=0).image_urls == [URL]
    assert (len(web.requests), clock.sleeps) == (2, [])


@pytest.mark.parametrize(
    ("retry_after", "timeout", "sleeps"),
    [
        (2, 600, [3.375]),
        (20, 600, [20.0]),
        (60, 600, [60.0]),
        (61, 600, None),
        (10, 10, [10.0]),
        (9, 10, [9.0]),
        (11, 10, None),
        (10, 10.5, [10.0]),
    ],
)
def test_a_wait_sleeps_as_long_as_the_server_asks_if_the_deadline_allows(
    web: Web,
    banana: NanoBanana,
    clock: InstantClock,
    retry_after: int,
    timeout: float,
    sleeps: list[float] | None,
) -> None:
    web.add_response(429, headers={"Retry-After": f"{retry_after}"})
    web.add_snapshot("completed", result=DONE)
    task = banana.task("t-1")
    if sleeps is None:
        with pytest.raises(api.RateLimitError) as caught:
            task.wait(timeout=timeout)
        assert caught.value.retry_after == retry_after
    elif sleeps == [timeout]:
        with pytest.raises(api.WaitTimeout):
            task.wait(timeout=timeout)
    else:
        assert task.wait(timeout=timeout).is_final
    assert clock.sleeps == (sleeps or [])


def test_retry_after_applies_only_until_the_next_poll(
    web: Web, banana: NanoBanana, clock: InstantClock
) -> None:
    web.add_response(503, headers={"Retry-After": "20"})
    web.add_snapshot("pending")
    web.add_snapshot("completed", result=DONE)
    banana.task("t-1").wait()
    assert clock.sleeps == [20.0, 4.5]


@pytest.mark.parametrize(
    ("status", "continues"),
    [
        (199, True),
        (302, True),
        (399, True),
        (400, False),
        (401, False),
        (404, False),
        (407, False),
        (408, True),
        (409, False),
        (428, False),
        (429, True),
        (430, False),
        (499, False),
        (500, True),
        (501, True),
        (599, True),
    ],
)
def test_a_wait_continues_after_a_failed_poll_unless_the_status_is_a_permanent_4xx(
    web: Web, banana: NanoBanana, status: int, continues: bool
) -> None:
    web.add_response(status)
    web.add_snapshot("completed", result=DONE)
    if continues:
        assert banana.task("t-1").wait().image_urls == [URL]
    else:
        with pytest.raises(api.APIStatusError) as caught:
            banana.task("t-1").wait()
        assert caught.value.status_code == status


@pytest.mark.parametrize(
    "add_failure",
    [
        lambda web: web.add_exception(httpx.ReadTimeout("")),
        lambda web: web.add_response(200, text="<html>"),
        lambda web: web.add_response(200, stream=Broken(b"{")),
    ],
)
def test_a_wait_timeout_has_the_last_failed_poll_as_its_cause(
    web: Web, banana: NanoBanana, add_failure: Callable[[Web], None]
) -> None:
    web.add_snapshot("pending")
    add_failure(web)
    with pytest.raises(api.WaitTimeout, match=r"client.task\('t-1'\)$") as caught:
        banana.task("t-1").wait(timeout=5)
    assert isinstance(caught.value.__cause__, api.NanoBananaError)
    assert caught.value.task_id == "t-1"


def test_a_wait_timeout_after_a_successful_poll_has_no_cause(web: Web, banana: NanoBanana) -> None:
    web.add_response(500)
    web.add_snapshot("pending")
    with pytest.raises(api.WaitTimeout) as caught:
        banana.task("t-1").wait(timeout=5)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        ("pending", False),
        ("ready", False),
        ("assigned", False),
        ("processing", False),
        ("queued", False),
        ("running", False),
        ("dreaming", False),
        ("completed", True),
        ("failed", True),
        ("cancelled", True),
        ("timeout", True),
    ],
)
def test_a_status_is_either_open_or_final(status: str, is_final: bool) -> None:
    assert TaskResult("t-1", status, {}).is_final is is_final


def test_each_unknown_status_causes_one_warning(
    web: Web, banana: NanoBanana, recwarn: pytest.WarningsRecorder
) -> None:
    for status in ("dreaming", "queued", "dreaming", "baking", "baking", "dreaming"):
        web.add_snapshot(status)
    web.add_snapshot("completed", result=DONE)
    banana.task("t-1").wait()
    assert [str(each.message) for each in recwarn] == [
        "task t-1 has a status that is not in the spec: 'dreaming'",
        "task t-1 has a status that is not in the spec: 'baking'",
    ]


def test_a_failed_task_raises_with_the_vendors_reason(web: Web, banana: NanoBanana) -> None:
    web.add_snapshot("failed", errorMessage="too odd", errorCode=7, traceId="trace")
    with pytest.raises(api.TaskFailed, match=r"^task t-1 ended as failed: too odd$") as caught:
        banana.task("t-1").wait()
    error = caught.value
    assert (error.task_id, error.status, error.error_message) == ("t-1", "failed", "too odd")
    assert (error.error_code, error.trace_id) == (7, "trace")


def test_the_error_of_a_cancelled_task_mentions_a_missing_reason(
    web: Web, banana: NanoBanana
) -> None:
    web.add_snapshot("cancelled")
    with pytest.raises(api.TaskFailed, match=r"ended as cancelled: the server gave no reason$"):
        banana.task("t-1").wait()


def test_a_completed_task_without_an_image_raises_with_the_whole_response(
    web: Web, banana: NanoBanana
) -> None:
    web.add_snapshot("completed", result={"note": "x" * 600})
    with pytest.raises(api.UnexpectedResponse, match=r"but has no image URL: {'taskId'") as caught:
        banana.task("t-1").wait()
    assert (caught.value.status_code, caught.value.task_id) == (200, "t-1")
    assert "x" * 600 in caught.value.body
    assert "x" * 600 not in str(caught.value)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_the_response_is_awaited_has_a_note_of_the_possible_charge(
    web: Web,
    banana: NanoBanana,
    caplog: pytest.LogCaptureFixture,
    interrupt: type[BaseException],
) -> None:
    caplog.set_level(logging.WARNING)
    web.responses.append(raises(interrupt))
    with pytest.raises(interrupt) as caught:
        banana.generate("a cat")
    note = (
        "a submission was interrupted before its response: it may have been accepted and charged, "
        "so check your account before you resend it"
    )
    assert caught.value.__notes__ == [note]
    assert caplog.messages == [note]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_pause_after_a_429_has_a_note_that_nothing_was_charged(
    web: Web,
    banana: NanoBanana,
    clock: InstantClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[BaseException],
) -> None:
    monkeypatch.setattr(clock, "sleep", raises(interrupt))
    caplog.set_level(logging.WARNING)
    web.add_response(429)
    with pytest.raises(interrupt) as caught:
        banana.generate("a cat")
    assert caught.value.__notes__ == ["a submission was interrupted, and nothing was charged"]
    assert caplog.messages == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_pause_between_polls_logs_the_running_task(
    web: Web,
    banana: NanoBanana,
    clock: InstantClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[BaseException],
) -> None:
    monkeypatch.setattr(clock, "sleep", raises(interrupt))
    caplog.set_level(logging.WARNING)
    web.add_snapshot("pending")
    with pytest.raises(interrupt):
        banana.task("t-1").wait()
    assert caplog.messages == ["task t-1 is still running: resume with client.task('t-1')"]


def test_an_error_in_on_update_propagates_without_a_log_message(
    web: Web, banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(result: object) -> None:
        raise LookupError("mine")

    web.add_snapshot("pending")
    with pytest.raises(LookupError, match="mine"):
        banana.task("t-1").wait(on_update=fail)
    assert not [each for each in caplog.records if each.name == "mountsea_banana"]


def test_a_wait_counts_from_its_own_start_and_ends_even_if_sleeps_overrun(
    web: Web, banana: NanoBanana, clock: InstantClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = clock.sleep
    monkeypatch.setattr(clock, "sleep", lambda seconds: sleep(seconds + 0.25))
    clock.now = 5.0
    web.add_snapshot("pending")
    with pytest.raises(api.WaitTimeout):
        banana.task("t-1").wait(timeout=10)
    assert clock.now == 5 + 10 + 0.25


def test_a_poll_that_outlasts_the_deadline_is_the_last(
    web: Web, banana: NanoBanana, clock: InstantClock
) -> None:
    clock.now = 5.0
    web.add_snapshot("pending")
    with pytest.raises(api.WaitTimeout):
        banana.task("t-1").wait(timeout=10, on_update=lambda _: clock.sleep(11))
    assert clock.sleeps == [11]
    assert len(web.requests) == 1


@either
@pytest.mark.parametrize("poll_interval", [0.1, 2, 7.5, 30.0])
def test_a_poll_interval_is_the_exact_pause_between_polls(
    web: Web, clock: InstantClock, poll_interval: float, is_async: bool
) -> None:
    for status in ("pending", "processing", "processing"):
        web.add_snapshot(status)
    web.add_snapshot("completed", result=DONE)
    result = wait(web, clock, is_async=is_async, poll_interval=poll_interval)
    assert result.image_urls == [URL]
    assert clock.sleeps == [poll_interval] * 3
    assert len(web.requests) == 4


@either
def test_a_poll_interval_of_none_polls_at_the_vendors_pace(
    web: Web, clock: InstantClock, is_async: bool
) -> None:
    for status in ("pending", "processing"):
        web.add_snapshot(status)
    web.add_snapshot("completed", result=DONE)
    wait(web, clock, is_async=is_async, poll_interval=None)
    assert clock.sleeps == [3.375, 4.5]


@either
@pytest.mark.parametrize(
    ("poll_interval", "sleeps"), [(2, [20.0, 2.0]), (20, [20.0, 20.0]), (20.5, [20.5, 20.5])]
)
def test_a_longer_retry_after_overrides_the_poll_interval(
    web: Web, clock: InstantClock, poll_interval: float, sleeps: list[float], is_async: bool
) -> None:
    web.add_response(429, headers={"Retry-After": "20"})
    web.add_snapshot("pending")
    web.add_snapshot("completed", result=DONE)
    wait(web, clock, is_async=is_async, poll_interval=poll_interval)
    assert clock.sleeps == sleeps


@either
@pytest.mark.parametrize(
    ("poll_interval", "timeout", "sleeps"),
    [
        (30, 20, [19.0, 1.0]),
        (86_400, 20, [19.0, 1.0]),
        (10, 10.5, [9.5, 1.0]),
        (0.5, 1.25, [0.25, 0.5, 0.5]),
        (0.5, 0.25, [0.25]),
    ],
)
def test_the_deadline_shortens_a_poll_interval(
    web: Web,
    clock: InstantClock,
    poll_interval: float,
    timeout: float,
    sleeps: list[float],
    is_async: bool,
) -> None:
    web.add_snapshot("pending")
    with pytest.raises(api.WaitTimeout):
        wait(web, clock, is_async=is_async, timeout=timeout, poll_interval=poll_interval)
    assert clock.sleeps == sleeps


@either
@pytest.mark.parametrize(
    "poll_interval",
    [0, 0.099, -1, True, False, "5", float("nan"), [5], "x" * 200, 10**400, float("inf"), 86_401],
)
def test_an_invalid_poll_interval_is_named_before_anything_is_sent(
    web: Web, clock: InstantClock, poll_interval: Any, is_async: bool
) -> None:
    with pytest.raises(api.ConfigurationError) as caught:
        wait(web, clock, is_async=is_async, poll_interval=poll_interval)
    assert str(caught.value) == (
        "poll_interval must be from 0.1 to 86400 seconds, not " + reprlib.repr(poll_interval)
    )
    assert web.requests == []


# Reading responses.


@pytest.mark.parametrize(
    ("status", "body", "warning"),
    [
        (201, {"taskId": "t-1"}, None),
        (201, {"taskId": "t-1", "data": {}}, None),
        (201, {"taskId": "t-1", "data": {"taskId": "t-2"}}, None),
        (200, {"taskId": "t-1"}, "a submission got the status 200 instead of 201"),
        (202, {"taskId": "t-1"}, "a submission got the status 202 instead of 201"),
        (299, {"taskId": "t-1"}, "a submission got the status 299 instead of 201"),
        (201, {"data": {"taskId": "t-1"}}, "was wrapped in `data`; task t-1 is safe"),
    ],
)
def test_the_task_id_is_read_and_deviations_from_the_contract_cause_a_warning(
    web: Web,
    banana: NanoBanana,
    recwarn: pytest.WarningsRecorder,
    status: int,
    body: object,
    warning: str | None,
) -> None:
    web.add_response(status, json=body)
    assert banana.generate("a cat").id == "t-1"
    messages = [str(each.message) for each in recwarn]
    assert len(messages) == (1 if warning else 0)
    assert (warning or "") in "".join(messages)


@pytest.mark.parametrize("value", ["é".encode("latin-1"), "é".encode(), b"\xff\xfe"])
def test_a_non_ascii_header_does_not_lose_the_task(
    web: Web, banana: NanoBanana, value: bytes
) -> None:
    web.add_response(201, json={"taskId": "t-1"}, headers={b"X-Cache": value})
    assert banana.generate("a cat").id == "t-1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"taskId": ""},
        {"taskId": " "},
        {"taskId": 5},
        {"taskId": None},
        {"data": 5},
        {"data": {}},
        {"data": {"taskId": 5}},
        {"taskId": None, "data": {"taskId": ""}},
        [{"taskId": "t-1"}],
        "t-1",
        None,
    ],
)
def test_a_response_without_a_readable_id_is_kept_in_full(
    web: Web, banana: NanoBanana, body: object
) -> None:
    web.add_response(201, json=body)
    message = (
        r"accepted \(201\), but its response .* It may have been charged: do not resend the request"
    )
    with pytest.raises(api.SubmissionUnreadable, match=message) as caught:
        banana.generate("a cat")
    assert (caught.value.status_code, caught.value.task_id) == (201, None)
    assert caught.value.body == httpx.Response(200, json=body).text


ENVELOPES: list[dict[str, object]] = [
    {},
    {"code": 200},
    {"status": "success"},
    {"status": 200},
    {"taskId": None},
    {"taskId": ""},
    {"taskId": 0},
]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_task_id_in_an_envelope_is_kept(
    web: Web, banana: NanoBanana, envelope: dict[str, object]
) -> None:
    web.add_response(201, json={**envelope, "data": {"taskId": "t-1"}})
    with pytest.warns(api.ContractWarning, match="was wrapped in `data`; task t-1 is safe"):
        assert banana.generate("a cat").id == "t-1"


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_task_id_in_an_envelope_that_broke_off_is_kept(
    web: Web, banana: NanoBanana, envelope: dict[str, object]
) -> None:
    web.add_response(201, text=json.dumps({**envelope, "data": {"taskId": "t-1"}})[:-1])
    with pytest.raises(api.SubmissionUnreadable, match="Task t-1 is safe"):
        banana.generate("a cat")


@pytest.mark.parametrize("task_id", ["\ud800abc", "a" * 1001])
def test_a_task_id_that_cannot_be_sent_is_kept(web: Web, banana: NanoBanana, task_id: str) -> None:
    web.add_response(201, text=json.dumps({"taskId": task_id}))
    with pytest.raises(api.SubmissionUnreadable, match="do not resend the request") as caught:
        banana.generate("a cat")
    assert caught.value.task_id == task_id


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"}), (409, {})]
)
def test_a_submission_that_is_refused_but_has_a_task_is_not_sent_again(
    web: Web, banana: NanoBanana, status: int, headers: dict[str, str]
) -> None:
    web.add_response(status, json={"taskId": "t-1", "message": "queue full"}, headers=headers)
    message = f"got the status {status}: queue full. But the response names task t-1"
    with pytest.raises(api.SubmissionUnknown, match=message) as caught:
        banana.generate("a cat")
    assert caught.value.task_id == "t-1"
    assert len(web.requests) == 1


@pytest.mark.parametrize("place", ["log", "submitted_task_id"])
def test_an_error_of_a_signal_handler_does_not_lose_a_new_task(
    web: Web, banana: NanoBanana, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def strike(*_: object) -> None:
        raise api.WaitTimeout("mine", task_id="t-0")

    web.add_response(201, json={"taskId": "t-1"})
    monkeypatch.setattr(_responses, place, strike)
    with pytest.raises(api.SubmissionUnknown, match="Task t-1 was created") as caught:
        banana.generate("a cat")
    assert caught.value.task_id == "t-1"


class BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("I/O operation on closed file")


def test_a_log_that_fails_does_not_replace_an_interrupt(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(InstantClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    web.add_response(200, json={"taskId": "t-1", "status": "pending"})
    monkeypatch.setattr(logging.getLogger("mountsea_banana"), "handlers", [BrokenHandler()])
    with NanoBanana(KEY, clock=Interrupted()) as banana, pytest.raises(KeyboardInterrupt):
        banana.task("t-1").wait()


def test_images_are_checked_one_by_one_if_no_thread_can_start(
    web: Web, banana: NanoBanana, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> NoReturn:
        raise OSError("too many open files")

    monkeypatch.delattr(concurrent.futures, "ThreadPoolExecutor", raising=False)
    monkeypatch.setattr(concurrent.futures, "__getattr__", fail)
    web.add_response(404)
    with pytest.raises(api.InvalidRequest, match="404"):
        banana.edit(
            "a hat", ["https://a.example/1.png", "https://a.example/2.png"], check_images=True
        )
    assert len(web.requests) >= 2


def test_a_task_id_in_a_response_that_is_not_json_is_kept(web: Web, banana: NanoBanana) -> None:
    web.add_response(201, text='"taskId" : "t-1"}')
    with pytest.raises(api.SubmissionUnreadable, match="Task t-1 is safe: resume") as caught:
        banana.generate("a cat")
    assert caught.value.task_id == "t-1"


def test_a_task_id_in_an_incomplete_response_is_kept(web: Web, banana: NanoBanana) -> None:
    web.add_response(201, stream=Broken(b'{"taskId": "t-1"'))
    message = r"ReadError: cut\). Task t-1 was created; resume the task with client.task\('t-1'\)$"
    with pytest.raises(api.SubmissionUnknown, match=message) as caught:
        banana.generate("a cat")
    assert caught.value.task_id == "t-1"
    assert isinstance(caught.value.__cause__, httpx.ReadError)


@pytest.mark.parametrize(
    ("start", "task_id"),
    [
        (b'{"parent": {"taskId": "t-0"}, "taskId": "t-1", "tags": ["', "t-1"),
        (b'{"parents": [{"taskId": "t-0"}], "taskId": "t-1"', "t-1"),
        (b'{"parent": {"taskId": "t-0"}, "taskId": "t-', None),
        (b'{"parent": {"taskId": "t-0"', None),
        (b'{"data": {"name": "a } \\" cat", "taskId": "t-1", "st', "t-1"),
        (b'{"code": 0, "data": {"parent": {"taskId": "t-0"}, "taskId": "t-1"}, "m', "t-1"),
    ],
)
def test_the_id_of_another_task_in_an_incomplete_response_is_ignored(
    web: Web, banana: NanoBanana, start: bytes, task_id: str | None
) -> None:
    web.add_response(201, stream=Broken(start))
    with pytest.raises(api.SubmissionUnknown) as caught:
        banana.generate("a cat")
    assert caught.value.task_id == task_id


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (201, api.SubmissionUnreadable),
        (500, api.SubmissionServerError),
        (303, api.SubmissionUnknown),
    ],
)
def test_a_task_id_in_a_wrapped_response_that_is_not_json_is_kept(
    web: Web, banana: NanoBanana, status: int, error: type[api.NanoBananaError]
) -> None:
    web.add_response(status, text='{"data": {"taskId": "t-1"}')
    with pytest.raises(error) as caught:
        banana.generate("a cat")
    assert caught.value.task_id == "t-1"


def test_a_wrapped_snapshot_that_is_not_json_is_reported(web: Web, banana: NanoBanana) -> None:
    web.add_response(text='{"data": {"taskId": "t-1", "status": "completed"}')
    with pytest.raises(api.UnexpectedResponse, match="violates the contract"):
        banana.task("t-1").fetch()


def test_the_id_of_a_new_task_is_logged(
    web: Web, banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mountsea_banana")
    web.add_response(201, json={"taskId": "t-1"})
    banana.generate("a cat")
    assert caplog.messages == ["submitted task t-1"]


def test_a_task_id_in_an_error_response_is_kept(web: Web, banana: NanoBanana) -> None:
    web.add_response(500, json={"taskId": "t-1", "traceId": "trace"})
    with pytest.raises(api.SubmissionServerError, match=r"^500 Internal Server Error: ") as caught:
        banana.generate("a cat")
    assert (caught.value.task_id, caught.value.trace_id) == ("t-1", "trace")


@pytest.mark.parametrize(
    ("digits", "kind"), [("9" * 4300, int), ("9" * 4301, float), ("1", int), ("1.5", float)]
)
def test_a_number_with_thousands_of_digits_does_not_lose_the_response(
    web: Web, banana: NanoBanana, digits: str, kind: type
) -> None:
    web.add_response(text=f'{{"taskId": "t-1", "status": "x", "n": {digits}}}')
    assert type(banana.task("t-1").fetch().raw["n"]) is kind


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"taskId": "t-1", "status": "x"}, "x"),
        ({"status": "x"}, "x"),
        ({"taskId": None, "status": "x", "data": {"status": "y"}}, "x"),
        ({"taskId": "t-1", "data": {"status": "y"}}, None),
        ({"taskId": "t-0", "status": "x"}, None),
        ({"taskId": "t-2", "status": "x"}, None),
        ({"taskId": "t-1", "status": ""}, None),
        ({"taskId": "t-1", "status": 5}, None),
        ({"taskId": "t-1"}, None),
        ({"data": 5}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_poll_needs_a_response_with_a_status_about_its_own_task(
    web: Web, banana: NanoBanana, body: Any, status: str | None
) -> None:
    web.add_response(json=body)
    if status:
        result = banana.task("t-1").fetch()
        assert (result.task_id, result.status, result.raw) == ("t-1", status, body)
        return
    with pytest.raises(
        api.UnexpectedResponse, match=r"^the response to the poll of task t-1 "
    ) as caught:
        banana.task("t-1").fetch()
    other = body.get("taskId", "t-1") if isinstance(body, dict) else "t-1"
    problem = "violates the contract" if other == "t-1" else f"is about another task, {other}"
    assert f"the poll of task t-1 {problem}: " in str(caught.value)
    assert (caught.value.status_code, caught.value.task_id) == (200, "t-1")
    assert caught.value.body == httpx.Response(200, json=body).text


def test_a_wrapped_poll_response_is_read_with_a_warning(web: Web, banana: NanoBanana) -> None:
    web.add_response(json={"data": {"taskId": "t-1", "status": "x", "more": 1}})
    with pytest.warns(
        api.ContractWarning, match="^the response about task t-1 was wrapped in"
    ) as caught:
        assert banana.task("t-1").fetch().raw == {"taskId": "t-1", "status": "x", "more": 1}
    assert len(caught) == 1


def test_a_warning_turned_into_an_error_does_not_lose_the_task(
    web: Web, banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    web.add_response(200, json={"taskId": "t-1"})  # pytest turns warnings into errors
    assert banana.generate("a cat").id == "t-1"
    assert caplog.messages == [
        "a submission got the status 200 instead of 201; its task id was read"
    ]


@pytest.mark.parametrize("key", ["KEY-1", "test-token"])
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_an_echoed_key_is_redacted_in_a_snapshot(web: Web, key: str, is_wrapped: bool) -> None:
    inner = {"taskId": "t-1", "status": "x", "echo": key}
    web.add_response(json={"data": inner} if is_wrapped else inner)
    with NanoBanana(key, base_url="https://api.example") as banana, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = banana.task("t-1").fetch()
    assert result.raw == {"taskId": "t-1", "status": "x", "echo": "[redacted]"}


def test_a_response_that_is_not_json_once_redacted_keeps_its_task(web: Web) -> None:
    web.add_response(201, text='{"data": {"taskId": "t-1", "n": 777}}')
    with (
        NanoBanana("777", base_url="https://api.example") as banana,
        pytest.raises(api.SubmissionUnreadable, match="Task t-1 is safe") as caught,
    ):
        banana.generate("a cat")
    assert caught.value.body == '{"data": {"taskId": "t-1", "n": [redacted]}}'


def test_a_fault_that_quotes_the_key_is_redacted(
    web: Web, make_client: Callable[..., NanoBanana]
) -> None:
    web.add_response(stream=Broken(b"", f"bad header {KEY}"))
    with pytest.raises(api.UnexpectedResponse) as caught:
        make_client(max_retries=0).task("t-1").fetch()
    assert str(caught.value.__cause__) == "bad header [redacted]"


def test_an_incomplete_poll_response_is_never_a_result(
    web: Web, make_client: Callable[..., NanoBanana]
) -> None:
    web.add_response(stream=Broken(b'{"taskId": "t-1", "status": "completed"}'))
    with pytest.raises(api.UnexpectedResponse) as caught:
        make_client(max_retries=0).task("t-1").fetch()
    assert isinstance(caught.value.__cause__, httpx.ReadError)


@pytest.mark.parametrize(
    ("body", "headers", "trace_id"),
    [
        (b'{"traceId": "a"}', {"X-Trace-Id": "b"}, "a"),
        (b"", {"X-Trace-Id": "b"}, "b"),
        (b'{"traceId": 5}', {"X-Trace-Id": "b"}, None),
        (b'{"data": {"traceId": "a"}}', {}, "a"),
        (b"", {}, None),
    ],
)
def test_the_trace_id_comes_from_the_body_or_a_header(
    web: Web, banana: NanoBanana, body: bytes, headers: dict[str, str], trace_id: str | None
) -> None:
    web.add_response(404, content=body, headers=headers)
    with pytest.raises(api.NotFoundError) as caught:
        banana.task("t-1").fetch()
    assert caught.value.trace_id == trace_id


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b'{"message": " no ", "error": "x"}', "no"),
        (b'{"message": " ", "errorMessage": "no"}', "no"),
        (b'{"message": 5, "error": "no"}', "no"),
        (b'{"error": ""}', '{"error": ""}'),
        (b'{"message": "' + b"x" * 501 + b'"}', "x" * 500),
        (b"a\n  b", "a b"),
        (b"x" * 200, "x" * 200),
        (b"x" * 201, "x" * 200 + "…"),
        (b" " * 800 + b"x" * 300, "x" * 200),
        (b"", "the body is empty"),
    ],
)
def test_an_error_quotes_an_excerpt_of_the_response(
    web: Web, banana: NanoBanana, body: bytes, excerpt: str
) -> None:
    web.add_response(404, content=body)
    with pytest.raises(api.NotFoundError) as caught:
        banana.task("t-1").fetch()
    assert str(caught.value) == f"task t-1: 404 Not Found: {excerpt}"
    assert caught.value.body == body.decode()


def test_a_status_without_a_name_is_reported_by_its_number(web: Web, banana: NanoBanana) -> None:
    web.add_response(499)
    with pytest.raises(api.APIStatusError, match=r"^499 unknown status: the body is empty$"):
        banana.generate("a cat")


@pytest.mark.parametrize(("size", "is_read"), [(8 * 2**20, True), (8 * 2**20 + 1, False)])
def test_a_response_of_up_to_eight_mebibytes_is_read(
    web: Web, make_client: Callable[..., NanoBanana], size: int, is_read: bool
) -> None:
    web.add_response(content=b'{"status": "x"}'.ljust(size))
    task = make_client(max_retries=0).task("t-1")
    if is_read:
        assert task.fetch().status == "x"
    else:
        with pytest.raises(api.UnexpectedResponse):
            task.fetch()


# Results.


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"errorCode": 7}, 7),
        ({"errorCode": 7.5}, 7.5),
        ({"errorCode": "E7"}, "E7"),
        ({"errorCode": True}, None),
        ({"errorCode": []}, None),
        ({}, None),
    ],
)
def test_an_error_code_is_a_number_or_a_string(raw: dict[str, object], expected: object) -> None:
    assert TaskResult("t-1", "failed", raw).error_code == expected


@pytest.mark.parametrize("date", ["2026-01-01T00:00:00", "soon", "", 5, None])
def test_a_date_without_a_time_zone_is_ignored(date: object) -> None:
    raw = {"createdAt": "2026-01-01T00:00:00Z", "finishedAt": date}
    result = TaskResult("t-1", "completed", raw)
    assert result.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert result.finished_at is None


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        ({"imageUrls": ["a", "b", "a"]}, ["a", "b"]),
        ({"imageUrls": ["", 5, None, {"url": ""}, {"url": 5}, "a"]}, ["a"]),
        ({"images": [{"url": "a"}], "image_urls": ["b"], "imageUrls": ["c"]}, ["c", "b", "a"]),
        ({"imageUrls": {"url": "a"}, "images": ["b"]}, ["b"]),
        ({}, []),
        ("a", []),
    ],
)
def test_every_image_url_is_found_once(result: object, urls: list[str]) -> None:
    assert TaskResult("t-1", "completed", {"result": result}).image_urls == urls


def test_results_are_immutable_compare_by_value_and_pickle() -> None:
    result = TaskResult("t-1", "pending", {"x": 1})
    assert (
        result == TaskResult("t-1", "pending", {"x": 1}) != TaskResult("t-2", "pending", {"x": 1})
    )
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301
    with pytest.raises(AttributeError):
        result.status = "completed"  # type: ignore[misc]


# Downloads.


def completed(*urls: str, task_id: str = "t-1") -> TaskResult:
    return TaskResult(task_id, "completed", {"result": {"imageUrls": urls and list(urls)}})


@pytest.mark.parametrize("taken", [".png", ".webp"])
def test_a_name_without_a_suffix_is_free_if_it_exists_with_another_suffix(
    web: Web, tmp_path: Path, taken: str
) -> None:
    (tmp_path / f"cat{taken}").touch()
    web.add_response(content=b"\xff\xd8\xff\xe0")
    assert completed(URL).save(tmp_path / "cat") == tmp_path / "cat.jpg"


def test_a_name_without_a_suffix_is_taken_if_it_exists_with_every_suffix(
    web: Web, tmp_path: Path
) -> None:
    for suffix in (".png", ".jpg", ".webp", ".gif", ".avif"):
        (tmp_path / f"cat{suffix}").touch()
    with pytest.raises(api.DownloadError, match="the file exists"):
        completed(URL).save(tmp_path / "cat")
    assert web.requests == []


@pytest.mark.parametrize("task_id", [5, None, b"t", "", " \n", "\ud800"])
def test_an_id_that_no_submission_returns_is_rejected(banana: NanoBanana, task_id: Any) -> None:
    with pytest.raises(api.InvalidRequest, match="task_id must be the string that a submission"):
        banana.task(task_id)


@pytest.mark.parametrize("length", [1001, 70_000])
def test_a_task_id_has_at_most_a_thousand_characters(banana: NanoBanana, length: int) -> None:
    assert len(banana.task("a" * 1000).id) == 1000
    message = f"^task_id must have at most 1000 characters, not {length}$"
    with pytest.raises(api.InvalidRequest, match=message):
        banana.task("a" * length)


@pytest.mark.parametrize("removes", [False, True])
def test_a_failed_rename_leaves_no_empty_file(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removes: bool
) -> None:
    def fail(self: Path, target: Path) -> None:
        if removes:  # as another process may
            target.unlink()
        raise OSError("no rename")

    monkeypatch.setattr(Path, "replace", fail)
    web.add_response(content=PNG)
    with pytest.raises(api.DownloadError, match="no rename"):
        completed(URL).save(tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("urls", [URL, [URL], (URL,), UserList([URL])])
def test_one_url_and_every_sequence_of_urls_are_sent_as_a_list(
    web: Web, banana: NanoBanana, urls: Any
) -> None:
    web.add_response(201, json={"taskId": "t-1"})
    banana.edit("red", urls)
    assert json.loads(web.requests[0].content)["image_urls"] == [URL]


@pytest.mark.parametrize("urls", [URL.encode(), {URL}, 5])
def test_what_is_not_a_sequence_of_urls_is_rejected(
    web: Web, banana: NanoBanana, urls: Any
) -> None:
    with pytest.raises(api.InvalidRequest, match="image_urls"):
        banana.edit("red", urls)
    assert web.requests == []


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (PNG, ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"RIFF\n\n\n\nWEBPVP8 ", ".webp"),
        (b"GIF89a", ".gif"),
        (b"\0\0\0\x20ftypavif", ".avif"),
    ],
)
def test_an_image_format_is_detected_by_its_first_bytes(
    web: Web, tmp_path: Path, content: bytes, suffix: str
) -> None:
    web.add_response(content=content)
    assert completed(URL).save(tmp_path / "cat") == tmp_path / f"cat{suffix}"
    assert (tmp_path / f"cat{suffix}").read_bytes() == content == completed(URL).read()
    assert "authorization" not in web.requests[0].headers


@pytest.mark.parametrize("content", [b"", b"x" + PNG, b"RIFF\n\n\n\nWAVE", b"GIF88a", b"<html>"])
def test_a_download_that_is_not_an_image_is_rejected(web: Web, content: bytes) -> None:
    web.add_response(content=content, headers={"Content-Type": "image/png"})
    with pytest.raises(
        api.DownloadError, match=r"the response is not an image \(content type: image/png\)$"
    ) as caught:
        completed(URL).read()
    assert (caught.value.url, caught.value.task_id) == (URL, "t-1")
    web.responses.clear()
    web.add_response(content=content)
    with pytest.raises(
        api.DownloadError, match=r"the response is not an image \(content type: none\)$"
    ):
        completed(URL).read()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (199, "the server responded 199$"),
        (201, "the server responded 201$"),
        (206, "the server responded 206$"),
        (402, "the server responded 402$"),
        (403, "the server responded 403, so the URL may have expired"),
        (404, r"the server responded 404, so .* client.task\('t-1'\).fetch\(\)$"),
        (405, "the server responded 405$"),
        (409, "the server responded 409$"),
        (410, "the server responded 410, so the URL may have expired"),
        (411, "the server responded 411$"),
        (500, "the server responded 500$"),
    ],
)
def test_a_download_reports_a_status_other_than_200(web: Web, status: int, reason: str) -> None:
    web.add_response(status, content=PNG)
    with pytest.raises(api.DownloadError, match=f"downloaded from {URL}: {reason}") as caught:
        completed(URL).read()
    assert (caught.value.url, caught.value.task_id) == (URL, "t-1")


def test_a_failed_download_has_the_exception_as_its_cause(web: Web) -> None:
    web.add_response(stream=Broken(PNG))
    web.add_exception(httpx.ConnectError("no way"))
    for kind, reason in ((httpx.ReadError, "ReadError: cut"), (httpx.ConnectError, "no way")):
        with pytest.raises(api.DownloadError, match=reason) as caught:
            completed(URL).read()
        assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize(("limit", "is_read"), [(8, True), (7, False)])
def test_an_image_may_have_up_to_max_bytes(web: Web, limit: int, is_read: bool) -> None:
    web.add_response(content=PNG)
    if is_read:
        assert completed(URL).read(max_bytes=limit) == PNG
    else:
        with pytest.raises(api.DownloadError, match=f"longer than {limit} bytes"):
            completed(URL).read(max_bytes=limit)


@pytest.mark.parametrize("method", [TaskResult.read, TaskResult.save])
def test_a_download_is_limited_to_64_mebibytes_and_a_minute_by_default(
    method: Callable[..., object],
) -> None:
    parameters = inspect.signature(method).parameters
    assert parameters["max_bytes"].default == 67_108_864
    assert parameters["timeout"].default == 60


@pytest.mark.parametrize(
    "url",
    ["ftp://a/b", "file:///a", "//a/b", "https://", "https:///b", "http://[::g/", "x" * 300],
)
def test_an_image_is_downloaded_only_from_http_urls(web: Web, url: str) -> None:
    with pytest.raises(api.DownloadError, match=r"is not an http\(s\) URL") as caught:
        completed(url).read()
    assert (caught.value.url, caught.value.task_id) == (url, "t-1")
    assert str(caught.value).endswith(repr(url[:200]))
    assert web.requests == []


@pytest.mark.parametrize("url", ["http://a", "HTTPS://a/b"])
def test_http_and_https_urls_are_downloaded(web: Web, url: str) -> None:
    web.add_response(content=PNG)
    assert completed(url, "https://b/second").read() == PNG
    assert web.requests[0].url == url


def test_a_task_without_an_image_raises_a_download_error() -> None:
    with pytest.raises(api.DownloadError, match=r"^task t-1 has no image: its status is") as caught:
        completed().read()
    assert (caught.value.url, caught.value.task_id) == (None, "t-1")


def test_an_existing_file_is_found_before_the_download(web: Web, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"mine")
    web.add_response(content=PNG)
    with pytest.raises(api.DownloadError, match="the file exists; pass overwrite=True") as caught:
        completed(URL).save(tmp_path / "cat.png")
    assert web.requests == []
    assert (caught.value.url, caught.value.task_id) == (URL, "t-1")
    assert completed(URL).save(tmp_path / "cat.png", overwrite=True).read_bytes() == PNG


def test_a_file_that_appears_during_the_download_is_kept(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.png"
    fsync = os.fsync

    def intrude(descriptor: int) -> None:
        fsync(descriptor)
        path.write_bytes(b"theirs")

    monkeypatch.setattr(os, "fsync", intrude)
    web.add_response(content=PNG)
    with pytest.raises(
        api.DownloadError, match=r"the file exists; pass overwrite=True to replace it$"
    ):
        completed(URL).save(path)
    assert path.read_bytes() == b"theirs"
    assert [each.name for each in tmp_path.iterdir()] == ["cat.png"]


@pytest.mark.parametrize(
    ("task_id", "name"),
    [
        ("t-1", "t-1.png"),
        ("../a b/c", "_a_b_c.png"),
        ("..", "image.png"),
        ("é", "_.png"),
        ("x" * 101, "x" * 100 + ".png"),
    ],
)
def test_a_file_in_a_folder_is_named_after_its_task(
    web: Web, tmp_path: Path, task_id: str, name: str
) -> None:
    web.add_response(content=PNG)
    assert completed(URL, task_id=task_id).save(tmp_path) == tmp_path / name
    assert completed(URL, task_id=task_id).save(f"{tmp_path}/new/") == tmp_path / "new" / name


def test_a_suffix_in_the_path_is_kept(web: Web, tmp_path: Path) -> None:
    web.add_response(content=PNG)
    assert completed(URL).save(str(tmp_path / "a" / "b" / "cat.jpeg")).read_bytes() == PNG
    assert (tmp_path / "a" / "b" / "cat.jpeg").is_file()
    assert [each.name for each in (tmp_path / "a" / "b").iterdir()] == ["cat.jpeg"]


def test_an_existing_file_without_a_suffix_does_not_block_a_file_with_one(
    web: Web, tmp_path: Path
) -> None:
    (tmp_path / "cat").write_bytes(b"mine")
    web.add_response(content=PNG)
    assert completed(URL).save(tmp_path / "cat") == tmp_path / "cat.png"
    with pytest.raises(api.DownloadError, match="the file exists"):
        completed(URL).save(tmp_path / "cat")


@pytest.mark.parametrize("path", [5, None, "a\0b", "/proc/none/cat.png"])
def test_an_unwritable_path_raises_a_download_error(web: Web, path: Any) -> None:
    web.add_response(content=PNG)
    for overwrite in (False, True):
        with pytest.raises(api.DownloadError, match="could not be saved as '") as caught:
            completed(URL, "https://b/second").save(path, overwrite=overwrite)
        assert caught.value.__cause__ is not None
        assert (caught.value.url, caught.value.task_id) == (URL, "t-1")


# Checking the images of an edit before it is paid for.

MIB = 2**20


@pytest.fixture
def edit(web: Web, banana: NanoBanana) -> Callable[..., list[tuple[str, str]]]:
    """Return a function that checks and edits images, and returns the violations."""

    def run(*urls: str) -> list[tuple[str, str]]:
        web.add_response(201, json={"taskId": "t-1"})
        try:
            banana.edit("red", urls or [URL], check_images=True)
        except api.InvalidRequest as error:
            return [(each.rule, each.message) for each in error.violations]
        return []

    return run


def image_response(size: int | None = 5, kind: str = "image/png") -> dict[str, Any]:
    length = {} if size is None else {"Content-Length": f"{size}"}
    return {"headers": {"Content-Type": kind, **length}, "stream": httpx.ByteStream(b"")}


@pytest.mark.parametrize(
    ("head", "requests"),
    [
        ((200, image_response()), 1),
        ((200, image_response(kind="IMAGE/webp; x=y")), 1),
        ((299, image_response()), 1),
        ((200, image_response(0)), 1),
        ((200, image_response(10 * MIB)), 1),
        ((200, image_response(None)), 2),
        ((200, image_response(kind="text/html")), 2),
        ((200, image_response(kind="ximage/png")), 2),
        ((200, image_response(10 * MIB + 1)), 2),
        ((199, image_response()), 2),
        ((300, image_response()), 2),
        ((405, image_response()), 2),
    ],
)
def test_an_inconclusive_head_response_is_followed_by_a_get_of_the_first_bytes(
    web: Web,
    edit: Callable[..., list[tuple[str, str]]],
    head: tuple[int, dict[str, Any]],
    requests: int,
) -> None:
    web.add_response(head[0], **head[1])
    if requests == 2:
        web.add_response(206, content=PNG, headers={"Content-Range": f"bytes 0-7/{10 * MIB}"})
    assert edit() == []
    methods = [each.method for each in web.requests]
    assert methods == [*["HEAD", "GET"][:requests], "POST"]
    assert [each.headers.get("range") for each in web.requests[1:-1]] == ["bytes=0-1023"][
        : requests - 1
    ]
    assert all("authorization" not in each.headers for each in web.requests[:-1])


REACHABLE, IMAGE, SIZE = "image-is-reachable", "image-is-an-image", "image-at-most-10-mb"
OPEN = "pass a publicly accessible URL"


@pytest.mark.parametrize(
    ("body", "kind", "is_image"),
    [
        (b"\x00heic", "image/heic", True),
        (b"B<", "image/bmp", True),
        (b"\x00heic", "application/octet-stream", False),
        (b"", "image/png", False),
        (b"<html>", "image/png", False),
        (b"{}", "image/png", False),
    ],
)
def test_an_unknown_format_that_only_a_get_shows_is_an_image_if_it_does_not_look_like_text(
    web: Web, banana: NanoBanana, body: bytes, kind: str, is_image: bool
) -> None:
    web.add_response(405)
    web.add_response(content=body, headers={"Content-Type": kind})
    web.add_response(201, json={"taskId": "t-1"})
    if is_image:
        assert banana.edit("red", URL, check_images=True).id == "t-1"
        return
    with pytest.raises(api.InvalidRequest, match=rf"is not an image \(content type: {kind}\)$"):
        banana.edit("red", URL, check_images=True)


@pytest.mark.parametrize(
    ("status", "options", "rule", "fault"),
    [
        (199, {"content": PNG}, REACHABLE, f"returned the status 199: {OPEN}"),
        (200, {"content": PNG}, None, ""),
        (200, {"stream": Broken(PNG)}, None, ""),
        (200, {"content": PNG, "headers": {"Content-Type": "text/html"}}, None, ""),
        (299, {"content": PNG}, None, ""),
        (300, {"content": PNG}, REACHABLE, f"returned the status 300: {OPEN}"),
        (404, {"content": PNG}, REACHABLE, f"returned the status 404: {OPEN}"),
        (200, {"content": b""}, IMAGE, "is not an image (content type: none)"),
        (200, {"html": "<html>"}, IMAGE, "is not an image (content type: text/html)"),
        (
            206,
            {"content": PNG, "headers": {"Content-Range": f"bytes 0-7/{10 * MIB}"}},
            None,
            "",
        ),
        (
            206,
            {"content": PNG, "headers": {"Content-Range": "bytes 0-7/11000000"}},
            SIZE,
            "is larger than 10 MB (11000000 bytes): make it smaller",
        ),
        (
            206,
            {"content": PNG, "headers": {"Content-Range": f"bytes 0-7/{10 * MIB + 1}"}},
            SIZE,
            "is larger than 10 MB (10485761 bytes): make it smaller",
        ),
        (206, {"content": PNG, "headers": {"Content-Range": "bytes 0-7/*"}}, None, ""),
        (
            200,
            {**image_response(10**15), "stream": httpx.ByteStream(PNG)},
            None,
            "",
        ),
        (
            200,
            {**image_response(10**15 - 1), "stream": httpx.ByteStream(PNG)},
            SIZE,
            "is larger than 10 MB (999999999999999 bytes): make it smaller",
        ),
        (200, {"stream": httpx.ByteStream(PNG.ljust(10 * MIB))}, None, ""),
        (
            200,
            {"stream": httpx.ByteStream(PNG.ljust(10 * MIB + 1))},
            SIZE,
            "is larger than 10 MB: make it smaller",
        ),
    ],
)
def test_an_unusable_image_is_rejected_with_the_reason(
    web: Web,
    edit: Callable[..., list[tuple[str, str]]],
    status: int,
    options: dict[str, Any],
    rule: str | None,
    fault: str,
) -> None:
    web.add_response(405)
    web.add_response(status, **options)
    assert edit() == ([(rule, f"image_urls[0] ({URL!r}) {fault}")] if rule else [])


def test_every_unusable_image_is_reported(web: Web, banana: NanoBanana) -> None:
    web.add_exception(httpx.ConnectError("no way"))
    long = URL + "?" + "x" * 300
    with pytest.raises(api.InvalidRequest) as caught:
        banana.edit("red", [URL, long], check_images=True)
    fault = f"could not be requested (ConnectError: no way): {OPEN}"
    assert [(each.rule, each.field, each.message) for each in caught.value.violations] == [
        (REACHABLE, "image_urls[0]", f"image_urls[0] ({URL!r}) {fault}"),
        (REACHABLE, "image_urls[1]", f"image_urls[1] ({long[:200]!r}) {fault}"),
    ]


# Checking requests.


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_a_number_that_json_does_not_have_cannot_be_sent(value: float) -> None:
    (violation,) = check_request({"prompt": "a", "action": "generate", "odd": value})
    assert violation.message.startswith("odd cannot be sent as JSON in UTF-8: Out of range float")


def test_what_is_checked_is_sent_even_if_a_value_can_only_be_read_the_second_time(
    web: Web, banana: NanoBanana
) -> None:
    class Moody(dict[str, int]):
        def items(self) -> Any:
            items, self["reads"] = dict(self).items(), self["reads"] + 1
            return items if self["reads"] == 2 else 1 / 0

    web.add_response(201, json={"taskId": "t-1"})
    banana.submit({"prompt": "a", "action": "generate", "odd": Moody(reads=0)})
    (request,) = web.requests
    assert json.loads(request.content) == {"prompt": "a", "action": "generate", "odd": {"reads": 1}}


def test_every_field_that_cannot_be_sent_is_reported() -> None:
    odd = {5: "a", "prompt": object(), "action": "generate", "model": {1, 2}}
    found = [(each.rule, each.field) for each in check_request(odd)]  # type: ignore[arg-type]
    assert found == [("type", "prompt"), ("type", "model"), ("type", "5")]


WITH_RESOLUTION = " and ".join(_rules.RESOLUTION_MODELS)
ACTIONS = ", ".join(sorted(drift.published("action")))
RESOLUTIONS = ", ".join(sorted(drift.published("resolution")))


@pytest.mark.parametrize(
    ("changes", "violations"),
    [
        ({}, []),
        ({"prompt": ""}, []),
        ({"more": [None]}, []),
        ({"num_images": 1}, []),
        ({"num_images": 1.0}, []),
        ({"image_urls": []}, []),
        ({"image_urls": ["https://a/b"]}, []),
        ({"action": "edit", "image_urls": ["https://a/b"]}, []),
        *(({"model": model, "resolution": "4K"}, []) for model in _rules.RESOLUTION_MODELS),
        ({"model": "nano-banana-2", "resolution": "1K", "aspect_ratio": "1:8"}, []),
        ({"aspect_ratio": "21:9"}, []),
        (
            {"action": "edit"},
            [
                (
                    "edit-needs-image-urls",
                    "image_urls",
                    "image_urls is required for an edit: pass the http(s) URL of at least one "
                    "image",
                )
            ],
        ),
        (
            {"model": "nano-banana-fast", "resolution": "1K"},
            [
                (
                    "resolution-needs-pro-or-2",
                    "resolution",
                    f"resolution works only with {WITH_RESOLUTION}, but the model "
                    "is 'nano-banana-fast': choose one of those models, or omit the resolution",
                )
            ],
        ),
        (
            {"resolution": "1K"},
            [
                (
                    "resolution-needs-pro-or-2",
                    "resolution",
                    f"resolution works only with {WITH_RESOLUTION}, but the model "
                    "is nano-banana-fast (the default): choose one of those models, or omit the "
                    "resolution",
                )
            ],
        ),
        (
            {"model": "nano-banana-fast", "aspect_ratio": "8:1"},
            [
                (
                    "wide-ratio-needs-2",
                    "aspect_ratio",
                    "aspect_ratio 8:1 works only with nano-banana-2, but the model is "
                    "'nano-banana-fast': choose that model, or another ratio",
                )
            ],
        ),
        *(
            (
                {"num_images": count},
                [
                    (
                        "one-image-only",
                        "num_images",
                        f"num_images is {count}, but a request generates exactly one image: omit "
                        "it, and send one request per image",
                    )
                ],
            )
            for count in (0, -1, 2, 1.5)
        ),
        *(
            (
                {"num_images": count},
                [("type", "num_images", f"num_images must be a number, not {count!r}: omit it")],
            )
            for count in (True, "1", None)
        ),
        (
            {"image_urls": ["https://a/b", "ftp://a/b"]},
            [
                (
                    "image-url-is-http",
                    "image_urls[1]",
                    "image_urls[1] is 'ftp://a/b', but the API takes only http(s) URLs with a "
                    "host: upload a local file to a web server, and pass its URL",
                )
            ],
        ),
        (
            {"action": "edit", "image_urls": 5},
            [("type", "image_urls", "image_urls must be a list of URLs, not 5")],
        ),
        (
            {"image_urls": [5]},
            [("type", "image_urls[0]", "image_urls[0] must be a URL as a string, not 5")],
        ),
        (
            {"image_urls": ["https://a/ b"]},
            [
                (
                    "uri",
                    "image_urls[0]",
                    "image_urls[0] is 'https://a/ b', which is not a valid URI: percent-encode "
                    "spaces and non-ASCII characters",
                )
            ],
        ),
        ({"prompt": 5}, [("type", "prompt", "prompt must be a string, not 5")]),
        ({"prompt": None}, [("type", "prompt", "prompt must be a string, not None")]),
        (
            {"action": "make"},
            [("value", "action", f"action is 'make': choose one of {ACTIONS}")],
        ),
        ({"action": 5}, [("type", "action", f"action is 5: choose one of {ACTIONS}")]),
        (
            {"resolution": None, "model": "nano-banana-2"},
            [("type", "resolution", f"resolution is None: choose one of {RESOLUTIONS}")],
        ),
        ({5: "x"}, [("type", "5", "5 is used as a field's name, but names must be strings")]),
        (
            {"odd": "\ud800"},
            [
                (
                    "type",
                    "odd",
                    "odd cannot be sent as JSON in UTF-8: 'utf-8' codec can't encode character "
                    r"'\ud800' in position 9: surrogates not allowed",
                )
            ],
        ),
    ],
)
def test_a_request_is_checked_against_every_rule(
    changes: dict[Any, object], violations: list[tuple[str, str, str]]
) -> None:
    request = {"prompt": "a cat", "action": "generate", **changes}
    found = [(each.rule, each.field, each.message) for each in check_request(request)]
    assert found == violations


def test_a_field_name_that_is_not_a_string_does_not_hide_other_violations() -> None:
    request: Any = {5: 5, "prompt": "a cat", "action": "make"}
    assert [each.field for each in check_request(request)] == ["5", "action"]


@pytest.mark.parametrize("missing", ["prompt", "action"])
def test_a_prompt_and_an_action_are_required(missing: str) -> None:
    request = {"prompt": "a cat", "action": "generate"}
    del request[missing]
    (found,) = check_request(request)
    assert found == api.Violation("required", missing, "is required")
    assert found.message == f"{missing} is required"


class Odd(dict[str, object]):
    """A mapping that cannot be iterated."""

    def __iter__(self) -> Any:
        raise RuntimeError

    keys = __iter__


@pytest.mark.parametrize("request_", [None, 5, [], "x", Odd(prompt="x")])
def test_an_object_that_is_not_a_request_is_one_violation(request_: Any) -> None:
    (found,) = check_request(request_)
    assert (found.rule, found.field) == ("type", "")
    assert found.message.startswith(
        "the request must be a NanoImageDto or a mapping of fields, not "
    )


def test_a_field_that_cannot_be_encoded_is_reported_once() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    for value in (cycle, object(), "\ud800", {1, 2}, 10**5000):
        request: Any = {"prompt": "a cat", "action": "edit", "image_urls": value, 5: 5}
        fields = [each.field for each in check_request(request)]
        assert fields == ["image_urls", "5"]


@pytest.mark.parametrize(
    ("url", "is_uri"),
    [
        ("http://[::1]/", True),
        ("http://[::1%25a]/", False),
        ("http://[1::2::3]/", False),
        ("http://[v1.a:b]/", True),
        ("http://a/%2", False),
        ("http://a/%20", True),
        ("http://a/b?c#d", True),
        ("http://a/é", False),
    ],
)
def test_an_image_url_must_be_a_uri(url: str, is_uri: bool) -> None:
    request = {"prompt": "a cat", "action": "edit", "image_urls": [url]}
    assert [each.rule for each in check_request(request)] == ([] if is_uri else ["uri"])


def test_violations_are_immutable_compare_by_value_and_pickle() -> None:
    (found,) = check_request({"prompt": "a cat"})
    assert found == pickle.loads(pickle.dumps(found))  # noqa: S301
    assert repr(found).startswith("Violation(rule='required', field='action', problem=")
    with pytest.raises(AttributeError):
        found.rule = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("--resolution", "--resolution"),
        ("URL 2", "URL 2"),
        ("x" * 100, "x" * 100),
        ("x" * 101, reprlib.repr("x" * 101)),
        ("a\nb", "'a\\nb'"),
        ("\x1b[2J", "'\\x1b[2J'"),
        ("", "the request"),
    ],
)
def test_a_violation_is_described_with_the_name_that_is_passed(name: str, shown: str) -> None:
    violation = Violation("type", "resolution", "must be a string, not 5", "omit it")
    assert violation.describe(name) == f"{shown} must be a string, not 5: omit it"
    assert violation.message == "resolution must be a string, not 5: omit it"
    assert Violation("type", name, "is 5").message == f"{shown} is 5"
    assert len(shown) <= 100


class Model(StrEnum):
    TWO = "nano-banana-2"


class Changing(Mapping[str, object]):
    """A request that is valid only until it has been read once."""

    def __init__(self) -> None:
        self._fields = {"prompt": "a cat", "action": "generate"}

    def __getitem__(self, name: str) -> object:
        return self._fields.pop(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("prompt", "action"))

    def __len__(self) -> int:
        return 2


def test_a_request_is_read_only_once_so_that_what_was_checked_is_sent(
    web: Web, banana: NanoBanana
) -> None:
    web.add_response(201, json={"taskId": "t-1"})
    banana.submit(Changing())
    assert web.requests[0].content == b'{"prompt": "a cat", "action": "generate"}'


def dto() -> NanoImageDto:
    request = NanoImageDto("a cat", "generate", model="nano-banana-2")
    request["seed"] = {"é": [1.0]}
    return request


@either
@pytest.mark.parametrize(
    ("request_", "content"),
    [
        (
            {"prompt": "Küche 猫 🐱", "action": "generate"},
            '{"prompt": "Küche 猫 🐱", "action": "generate"}',
        ),
        (
            {"prompt": '"\\\n\x7f', "action": "generate", "num_images": 1.0},
            '{"prompt": "\\"\\\\\\n\x7f", "action": "generate", "num_images": 1.0}',
        ),
        (
            {"action": "generate", "prompt": "", "seed": 10**30, "é": {"é": [None, True, {}]}},
            '{"action": "generate", "prompt": "", "seed": 1000000000000000000000000000000, '
            '"é": {"é": [null, true, {}]}}',
        ),
        (
            {"prompt": "", "action": "generate", "more": [0.1, 1e22, -0.0, {5: 5, None: 1}]},
            '{"prompt": "", "action": "generate", "more": [0.1, 1e+22, -0.0, {"5": 5, "null": 1}]}',
        ),
        (
            {"prompt": "", "action": "edit", "image_urls": ("https://a/b",), "model": Model.TWO},
            '{"prompt": "", "action": "edit", "image_urls": ["https://a/b"], '
            '"model": "nano-banana-2"}',
        ),
        (
            dto(),
            '{"seed": {"é": [1.0]}, "prompt": "a cat", "action": "generate", "num_images": 1.0, '
            '"model": "nano-banana-2"}',
        ),
    ],
    ids=["text", "escapes", "nested", "numbers", "tuple and enum", "DTO"],
)
def test_the_bytes_sent_are_the_json_that_was_checked(
    web: Web, clock: InstantClock, request_: Any, content: str, is_async: bool
) -> None:
    web.add_response(201, json={"taskId": "t-1"})
    call(web, clock, lambda client: client.submit(request_), is_async=is_async)
    (sent,) = web.requests
    assert sent.content == content.encode()
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["content-length"] == str(len(content.encode()))


def test_importing_the_package_does_not_import_the_generated_models() -> None:
    code = "import sys, mountsea_banana; print('mountsea_api.models' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# Errors.


@pytest.mark.parametrize(
    ("hint", "advice"),
    [
        (None, ""),
        (Hint.SET_KEY, "; pass api_key, or set MOUNTSEA_API_KEY"),
        (Hint.OVERWRITE, "; pass overwrite=True to replace it"),
        (Hint.RESUME, """; resume the task with client.task("it's {0}")"""),
        (Hint.POLL_AGAIN, """; get a fresh URL with client.task("it's {0}").fetch()"""),
    ],
)
def test_an_error_message_is_the_problem_and_the_advice_of_the_hint(
    hint: Hint | None, advice: str
) -> None:
    error = api.NanoBananaError("{it} broke", task_id="it's {0}", hint=hint)
    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert (each.problem, each.hint, each.task_id) == ("{it} broke", hint, "it's {0}")
        assert str(each) == f"{{it}} broke{advice}"


def error_of(function: Callable[[], object]) -> api.NanoBananaError:
    with pytest.raises(api.NanoBananaError) as caught:
        function()
    return caught.value


def test_each_error_with_a_standard_remedy_has_a_problem_and_a_hint(
    web: Web, make_client: Callable[..., NanoBanana], tmp_path: Path
) -> None:
    client = make_client()
    (tmp_path / "cat.png").touch()
    errors = [error_of(lambda: make_client(api_key=" "))]
    web.add_response(201, stream=Broken(b'{"taskId": "t-1"'))
    errors.append(error_of(lambda: client.generate("a cat")))
    errors.append(error_of(lambda: client.task("t-1").wait(timeout=0)))
    errors.append(error_of(lambda: completed(URL).save(tmp_path / "cat.png")))
    web.add_response(410)
    web.responses.pop(0)
    errors.append(error_of(lambda: completed(URL).read()))
    assert [(type(error), error.hint) for error in errors] == [
        (api.ConfigurationError, Hint.SET_KEY),
        (api.SubmissionUnknown, Hint.RESUME),
        (api.WaitTimeout, Hint.RESUME),
        (api.DownloadError, Hint.OVERWRITE),
        (api.DownloadError, Hint.POLL_AGAIN),
    ]
    for error in errors:
        assert error.hint
        advice = error.hint.value.format(task_id=error.task_id)
        for each in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301
            assert (each.problem, each.hint) == (error.problem, error.hint)
            assert str(each) == f"{error.problem}; {advice}"


def test_an_error_without_a_hint_has_its_whole_message_as_the_problem(
    web: Web, make_client: Callable[..., NanoBanana]
) -> None:
    client = make_client(max_retries=0)
    errors = [error_of(lambda: client.generate(5)), error_of(lambda: client.edit("red", []))]  # type: ignore[call-overload]
    for status in (200, 400, 429, 500):
        web.responses.clear()
        web.add_response(status)
        errors.append(error_of(lambda: client.generate("a cat")))
    for error in errors:
        for each in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301
            assert (each.problem, each.hint) == (str(error), None)
            assert str(each) == str(error)


# Redaction.


@pytest.mark.parametrize("key", ["sk-\"a\\b/c'd%e<f&g", "sk-plain-1", "sk-<1>"])
@pytest.mark.parametrize(
    "quote",
    [
        str,
        json.dumps,
        lambda key: repr(key.encode()),
        lambda key: repr(json.dumps(key).encode()),
        str.upper,
        html.escape,
        lambda key: "".join(f"%{ord(char):02x}" for char in key),
        lambda key: "".join(f"\\u{ord(char):04X}" for char in key),
        lambda key: key.replace("s", "\u017f"),
    ],
    ids=["verbatim", "JSON", "repr", "repr of JSON", "upper", "HTML", "%XX", "\\uXXXX", "long s"],
)
def test_the_key_is_redacted_in_every_notation(
    web: Web,
    make_client: Callable[..., NanoBanana],
    quote: Callable[[str], str],
    key: str,
) -> None:
    web.add_response(403, text=f"<{quote(key)}>", headers={"X-Echo": quote(key).encode()})
    with pytest.raises(api.PermissionDeniedError) as caught:
        make_client(api_key=key).generate("a cat")
    for shown in (caught.value.body, caught.value.headers["x-echo"]):
        assert shown.strip("<>\"b'") == "[redacted]"


def test_a_header_whose_name_is_the_key_is_redacted(
    web: Web, make_client: Callable[..., NanoBanana]
) -> None:
    web.add_response(403, headers={"sk-Key": "a value"})
    with pytest.raises(api.PermissionDeniedError) as caught:
        make_client(api_key="sk-Key").generate("a cat")
    assert caught.value.headers["[redacted]"] == "a value"


def test_an_exception_of_an_unknown_library_is_replaced_by_its_name_and_text(
    web: Web, banana: NanoBanana
) -> None:
    class Foreign(Exception):
        pass

    web.add_exception(Foreign("gone"))
    with pytest.raises(api.SubmissionUnknown, match=r"Foreign: gone") as caught:
        banana.generate("a cat")
    assert type(caught.value.__cause__) is httpx.TransportError
    assert str(caught.value.__cause__) == "Foreign: gone"


def test_an_exception_that_cannot_be_copied_is_replaced_by_a_redacted_transport_error(
    web: Web, make_client: Callable[..., NanoBanana]
) -> None:
    class Peculiar(httpx.TransportError):
        def __init__(self, message: str, *, peculiarity: str) -> None:
            super().__init__(message + peculiarity)

    web.add_exception(Peculiar(f"{KEY} is ", peculiarity="bad"))
    with pytest.raises(api.SubmissionUnknown, match=r"\[redacted\] is bad") as caught:
        make_client().generate("a cat")
    assert type(caught.value.__cause__) is httpx.TransportError


def echo_to(name: str, *args: object) -> Callable[[], httpx.Response]:
    """Return a response that is logged while its exchange is under way, as httpcore does."""

    def respond() -> httpx.Response:
        logging.getLogger(name).debug(*args)
        return httpx.Response(201, json={"taskId": "t-1"})

    return respond


LOGGERS = ["httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "hpack.table"]


@either
@pytest.mark.parametrize("name", LOGGERS)
def test_the_key_is_redacted_in_library_logs_while_an_exchange_is_under_way(
    web: Web, caplog: pytest.LogCaptureFixture, name: str, is_async: bool
) -> None:
    caplog.set_level(logging.DEBUG, name)
    web.responses.append(echo_to(name, "a response with %s and %s", KEY, "other-key"))
    call(web, None, lambda client: client.generate("a cat"), is_async=is_async)
    echoed = next(record for record in caplog.records if record.name == name)
    assert (echoed.getMessage(), echoed.args) == (
        "a response with [redacted] and other-key",
        None,
    )


def test_a_log_line_without_the_key_keeps_its_arguments(
    web: Web, banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore.http11")
    web.responses.append(echo_to("httpcore.http11", "a response with %s", "nothing"))
    banana.generate("a cat")
    assert [record.args for record in caplog.records] == [("nothing",)]


@pytest.mark.parametrize("name", [*LOGGERS, "hpack.hpack"])
def test_log_lines_outside_of_an_exchange_are_untouched(
    web: Web, banana: NanoBanana, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    web.add_response(201, json={"taskId": "t-1"})
    banana.generate("a cat")
    caplog.set_level(logging.DEBUG, name)
    logging.getLogger(name).debug("a response with %s", KEY)
    assert [(each.getMessage(), each.args) for each in caplog.records] == [
        (f"a response with {KEY}", (KEY,))
    ]


def test_the_compressed_headers_of_http_2_are_logged_only_outside_of_an_exchange(
    web: Web, banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "hpack.hpack")
    web.responses.append(echo_to("hpack.hpack", "Encoded header block to %s", b"\x82"))
    banana.generate("a cat")
    assert caplog.messages == []
    logging.getLogger("hpack.hpack").debug("Encoded header block to %s", b"\x83")
    assert caplog.messages == ["Encoded header block to b'\\x83'"]


def test_clients_with_different_keys_in_two_threads_redact_their_own_key_only(
    web: Web, make_client: Callable[..., NanoBanana], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore.http11")
    both = threading.Barrier(2, timeout=5)

    def respond() -> httpx.Response:
        both.wait()  # both exchanges are under way
        response = echo_to("httpcore.http11", "first-key and second-key")()
        both.wait()
        return response

    web.responses.append(respond)
    clients = [make_client(api_key=key) for key in ("first-key", "second-key")]
    with ThreadPoolExecutor(2) as pool:
        for submission in [pool.submit(client.generate, "a cat") for client in clients]:
            submission.result()
    assert sorted(caplog.messages) == [
        "[redacted] and second-key",
        "first-key and [redacted]",
    ]


# Checking the output before anything is paid for.


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".avif"])
def test_a_name_without_a_suffix_is_taken_if_it_exists_with_any_image_suffix(
    tmp_path: Path, suffix: str
) -> None:
    path = str(tmp_path / "cat")
    assert obstacle(path, overwrite=False) is None
    (tmp_path / f"cat{suffix}").touch()
    message = f"{path}{suffix} exists; pass --force to replace it"
    assert obstacle(path, overwrite=False) == message
    assert obstacle(path, overwrite=True) is None
    assert obstacle(str(tmp_path / "dog"), overwrite=False) is None
    (tmp_path / "cat.avif").touch()
    assert obstacle(path, overwrite=False) == message


def test_a_name_with_a_suffix_is_taken_only_if_that_file_exists(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpeg"
    (tmp_path / "cat.jpeg.png").touch()
    assert obstacle(str(path), overwrite=False) is None
    path.symlink_to("nowhere")
    assert obstacle(str(path), overwrite=False) == f"{path} exists; pass --force to replace it"


def test_a_folder_is_a_valid_output_and_a_file_in_its_place_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert obstacle(str(tmp_path), overwrite=False) is None
    assert obstacle(f"{tmp_path}/new/", overwrite=False) is None
    for path in ("file/", "file/cat.png", "file/new/cat.png"):
        assert obstacle(f"{tmp_path}/{path}", overwrite=False) == f"{tmp_path}/file is not a folder"


@pytest.mark.parametrize("path", ["cat.png", "new/cat.png", "", "new/"])
def test_an_unwritable_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    checked = []

    def create(*, dir: Path) -> NoReturn:  # noqa: A002
        checked.append(dir)
        raise PermissionError

    monkeypatch.setattr(tempfile, "TemporaryFile", create)
    message = f"the folder {tmp_path} is not writable"
    assert obstacle(f"{tmp_path}/{path}", overwrite=False) == message
    assert checked == [tmp_path]


def test_a_device_is_not_replaced() -> None:
    assert obstacle("/dev/null", overwrite=True) == "/dev/null is not a regular file"


def test_an_impossible_file_name_is_reported() -> None:
    message = obstacle("a" * 300, overwrite=False)
    assert message is not None
    assert message.startswith("OSError: [Errno 36] File name too long")


# What a response that broke off, or is not quite JSON, says.


def read(text: str, *, is_broken: bool = True) -> _responses.APIResponse:
    fault = httpx.ReadError("the connection broke") if is_broken else None
    return _responses.read_response(
        RawResponse(201, httpx.Headers(), text.encode(), fault), Redactor(KEY)
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"parent": {"taskId": "t-0"}, "taskId": "t-1", "images": [',
        '{"parent": {"taskId": "t-0"}, "taskId": "t-1", "images": [ }',
        '{"parent": {"taskId": "t-0"}, "taskId": "t-1"} <html>',
        '{"parent": [{"taskId": "t-0"}], "taskId": "t-1", "status": "pen',
        '201 "taskId": "t-1"',
    ],
)
def test_the_id_of_the_task_itself_is_found_in_what_is_not_quite_json(text: str) -> None:
    assert read(text).task_id == "t-1"


def test_the_beginning_of_a_key_is_redacted_where_a_response_broke_off() -> None:
    for length in range(6, len(KEY) + 1):
        assert read(f"no key {KEY[:length]}").text == "no key [redacted]"
        assert read(f"no key {KEY[:length].upper()}").text == "no key [redacted]"
        assert read(f"no key {KEY[:length]}.").text == (
            f"no key {KEY[:length] if length < len(KEY) else '[redacted]'}."
        )
    assert read(f"no key {KEY[:5]}").text == f"no key {KEY[:5]}"


def test_the_beginning_of_a_key_in_a_whole_response_is_left_alone() -> None:
    assert read(f"no key {KEY[:-1]}", is_broken=False).text == f"no key {KEY[:-1]}"


@pytest.mark.parametrize(("key", "is_redacted"), [("k-345", False), ("k-3456", True), (KEY, True)])
def test_the_beginning_of_a_key_is_redacted_as_hex_unless_it_tells_nothing(
    key: str, is_redacted: bool
) -> None:
    text = f"debug data {key.encode().hex()}"
    assert (Redactor(key)(text) == "debug data [redacted]") is is_redacted


# What strikes a flow from outside, such as an error of a signal handler.


@pytest.mark.parametrize(
    ("is_submission", "is_connecting", "expected"),
    [
        (True, False, api.SubmissionUnknown),
        (True, True, api.APITimeoutError),
        (False, False, api.APITimeoutError),
    ],
)
def test_an_error_from_outside_does_not_hide_that_a_submission_may_have_left(
    is_submission: bool, is_connecting: bool, expected: type[Exception]
) -> None:
    with NanoBanana(KEY) as banana:
        settings = banana._driver.settings
        body = _requests.checked({"prompt": "a cat", "action": "generate"})
        flow: Flow[object] = (
            _flows.create_task(body, [], settings=settings)
            if is_submission
            else _flows.fetch("t-1", settings=settings)
        )
        step: Any = next(flow)
        step.exchange.start(is_observable=True)
        if is_connecting:
            step.exchange.trace("connection.connect_tcp.started", {})
        with pytest.raises(api.NanoBananaError) as caught:
            flow.throw(api.APITimeoutError("the handler's own"))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("phase", "kept"), [(5.0, 5.0), (1e9, 1e9), (1.1e9, None), (float("inf"), None), (None, None)]
)
def test_a_phase_that_is_too_long_for_a_socket_has_no_end(
    phase: float | None, kept: float | None
) -> None:
    with NanoBanana(KEY, timeout=httpx.Timeout(60, read=phase)) as banana:
        assert banana._driver.settings.timeout.read == kept
