"""Broken servers: nothing is charged twice, no task is lost, and the key never leaks."""

from __future__ import annotations

import logging
import pickle
import socket
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import mountsea_banana as api
import pytest
from mountsea_banana import InstantClock, NanoBanana

from tests.faults import (
    DIFFERENT,
    HEAD,
    KEY,
    KINDS,
    LOST,
    PROBLEMS,
    TWICE,
    Fault,
    FaultServer,
    Row,
    report,
    response,
    run_action,
    try_kind,
)

DROP = b""
CREATED = response(201, {"taskId": "t-1"})


def serving(responses: Sequence[bytes]) -> FaultServer:
    """Return a server that sends each connection the next response, and repeats the last one."""
    return FaultServer(*(Fault("a response", text) for text in responses))


@pytest.fixture(params=["sync", "async"])
def attempt(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that runs an action with a client of the parametrized kind."""

    def run(url: str, name: str, clock: InstantClock, **options: Any) -> Any:
        is_async = request.param == "async"
        return run_action(url, name, is_async=is_async, clock=clock, **{"timeout": 5, **options})

    return run


def snapshot(status: str, **fields: object) -> bytes:
    return response(200, {"taskId": "t-1", "status": status, **fields})


DONE = snapshot("completed", result={"imageUrls": ["https://a/b"]})
HTML = response(200, b"<html>gateway</html>")

SUBMISSIONS: list[tuple[str, list[bytes], str | type[Exception], int]] = [
    ("accepted", [CREATED], "t-1", 1),
    ("429, then accepted", [response(429, b"", "Retry-After: 2"), CREATED], "t-1", 2),
    ("429 without Retry-After", [response(429), CREATED], "t-1", 2),
    ("429 forever", [response(429)], api.RateLimitError, 3),
    ("429 for an hour", [response(429, b"", "Retry-After: 3600")], api.RateLimitError, 1),
    ("503 with Retry-After", [response(503, b"", "Retry-After: 2"), CREATED], "t-1", 2),
    ("503 forever", [response(503, b"", "Retry-After: 0")], api.ServerError, 3),
    (
        "503 with a malformed Retry-After",
        [response(503, b"", "Retry-After: soon"), CREATED],
        api.SubmissionServerError,
        1,
    ),
    ("503 without Retry-After", [response(503), CREATED], api.SubmissionServerError, 1),
    ("500", [response(500, {"message": "oh"}), CREATED], api.SubmissionServerError, 1),
    ("520", [response(520, b"<html>"), CREATED], api.SubmissionServerError, 1),
    ("599", [response(599), CREATED], api.SubmissionServerError, 1),
    ("dropped", [DROP, CREATED], api.SubmissionUnknown, 1),
    ("garbage", [b"garbage\r\n\r\n", CREATED], api.SubmissionUnknown, 1),
    ("truncated", [response(201, b'{"taskId": "t-', length=99)], api.SubmissionUnknown, 1),
    (
        "truncated after the id",
        [response(201, b'{"taskId": "t-1"', length=99)],
        api.SubmissionUnknown,
        1,
    ),
    ("bad gzip", [response(201, b"no", "Content-Encoding: gzip")], api.SubmissionUnknown, 1),
    ("too large", [response(201, b" " * (9 << 20))], api.SubmissionUnknown, 1),
    ("empty", [response(201), CREATED], api.SubmissionUnreadable, 1),
    ("204", [response(204)], api.SubmissionUnreadable, 1),
    ("HTML", [response(201, b"<html>"), CREATED], api.SubmissionUnreadable, 1),
    ("a number", [response(201, {"taskId": 5})], api.SubmissionUnreadable, 1),
    ("a list", [response(201, [])], api.SubmissionUnreadable, 1),
    ("deeply nested", [response(201, b"[" * 100_000)], api.SubmissionUnreadable, 1),
    (
        "invalid JSON with an id",
        [response(201, b'"taskId": "t-1", x')],
        api.SubmissionUnreadable,
        1,
    ),
    ("a long number", [response(201, b'{"taskId": "t-1", "x": ' + b"9" * 5000 + b"}")], "t-1", 1),
    ("400", [response(400, {"error": "no"}), CREATED], api.BadRequestError, 1),
    ("401", [response(401)], api.AuthenticationError, 1),
    ("402", [response(402)], api.APIStatusError, 1),
    ("403", [response(403)], api.PermissionDeniedError, 1),
    ("404", [response(404)], api.NotFoundError, 1),
    ("422", [response(422)], api.BadRequestError, 1),
    ("301", [response(301, b"", "Location: /elsewhere"), CREATED], api.SubmissionUnknown, 1),
    ("302", [response(302, b"", "Location: /elsewhere"), CREATED], api.SubmissionUnknown, 1),
    ("303", [response(303, b"", "Location: /elsewhere"), CREATED], api.SubmissionUnknown, 1),
    ("307", [response(307, b"", "Location: /elsewhere"), CREATED], api.APIStatusError, 1),
    ("308", [response(308, b"", "Location: /elsewhere"), CREATED], api.APIStatusError, 1),
    (
        "echoed key",
        [response(400, {"message": KEY, "x": "sk-secret\\/key-1"})],
        api.BadRequestError,
        1,
    ),
    (
        "echoed key with an empty id",
        [response(201, {"taskId": "", "x": KEY}, f"X-Echo: {KEY}")],
        api.SubmissionUnreadable,
        1,
    ),
]


@pytest.mark.parametrize(
    ("responses", "expected", "posts"),
    [pytest.param(*case[1:], id=case[0]) for case in SUBMISSIONS],
)
def test_a_submission_is_retried_only_if_it_cannot_have_been_accepted(
    attempt: Callable[..., Any],
    clock: InstantClock,
    caplog: pytest.LogCaptureFixture,
    responses: list[bytes],
    expected: str | type[Exception],
    posts: int,
) -> None:
    caplog.set_level(logging.INFO)
    with serving(responses) as server:
        if isinstance(expected, str):
            assert attempt(server.url, "submit", clock).id == expected
        else:
            with pytest.raises(expected) as caught:
                attempt(server.url, "submit", clock)
            assert type(caught.value) is expected
            restored = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
            assert type(restored) is expected
            assert vars(restored).keys() == vars(caught.value).keys()
            shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
            shown += repr(getattr(caught.value, "headers", None)) + caplog.text
            assert KEY not in shown
    assert len(server.requests) == posts
    assert all(request.count(f"Bearer {KEY}".encode()) == 1 for request in server.requests)


def test_an_id_in_a_truncated_response_is_kept(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with (
        serving([response(201, b'{"taskId": "t-1"', length=99)]) as server,
        pytest.raises(api.SubmissionUnknown, match="resume the task") as caught,
    ):
        attempt(server.url, "submit", clock)
    assert caught.value.task_id == "t-1"


@pytest.mark.parametrize(
    "data", [response(201, {"data": {"taskId": "t-1"}}), response(200, {"taskId": "t-1"})]
)
def test_a_deviating_response_with_an_id_returns_a_task_and_warns(
    attempt: Callable[..., Any], clock: InstantClock, data: bytes
) -> None:
    with serving([data]) as server, pytest.warns(api.ContractWarning):
        assert attempt(server.url, "submit", clock).id == "t-1"


def test_a_warning_raised_as_an_error_does_not_lose_the_task(
    attempt: Callable[..., Any], clock: InstantClock, caplog: pytest.LogCaptureFixture
) -> None:
    with serving([response(200, {"taskId": "t-1"})]) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attempt(server.url, "submit", clock).id == "t-1"
    assert "instead of 201" in caplog.text


def test_an_unsent_request_is_retried(attempt: Callable[..., Any], clock: InstantClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(api.APIConnectionError, match="nothing was charged"):
        attempt(url, "submit", clock)
    assert len(clock.sleeps) == 2


def test_a_silent_server_makes_submissions_unknown_and_polls_time_out(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(api.SubmissionUnknown):
            attempt(url, "submit", clock, timeout=httpx.Timeout(0.05))
        with pytest.raises(api.APITimeoutError):
            attempt(url, "fetch", clock, timeout=httpx.Timeout(0.05), max_retries=0)


POLLS: list[tuple[str, str, list[bytes], type[Exception] | None, int]] = [
    ("fetch", "500, then fine", [response(500), DONE], None, 2),
    ("fetch", "500 forever", [response(500)], api.ServerError, 3),
    ("fetch", "dropped", [DROP, DROP, DONE], None, 3),
    ("fetch", "truncated", [response(200, b"{", length=9), DONE], None, 2),
    ("fetch", "HTML", [HTML], api.UnexpectedResponse, 1),
    (
        "fetch",
        "another task's snapshot",
        [response(200, {"taskId": "t-2", "status": "x"})],
        api.UnexpectedResponse,
        1,
    ),
    ("fetch", "no status", [response(200, {"taskId": "t-1"})], api.UnexpectedResponse, 1),
    ("fetch", "408", [response(408)], api.APIStatusError, 1),
    ("wait", "408, HTML, drop, then fine", [response(408), HTML, DROP, DONE], None, 4),
    (
        "wait",
        "unknown statuses are not final",
        [snapshot("ready"), snapshot("queued"), DONE],
        None,
        3,
    ),
    ("wait", "401", [response(401)], api.AuthenticationError, 1),
    ("wait", "429 within the deadline", [response(429, b"", "Retry-After: 9"), DONE], None, 2),
    (
        "wait",
        "429 past the deadline",
        [response(429, b"", "Retry-After: 50")],
        api.RateLimitError,
        1,
    ),
    ("wait", "429 too long", [response(429, b"", "Retry-After: 9000")], api.RateLimitError, 1),
    (
        "wait",
        "Retry-After as a date",
        [response(429, b"", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"), DONE],
        None,
        2,
    ),
    ("wait", "failed", [snapshot("failed", errorMessage="no", errorCode=7)], api.TaskFailed, 1),
    ("wait", "cancelled", [snapshot("cancelled")], api.TaskFailed, 1),
    ("wait", "timeout", [snapshot("timeout")], api.TaskFailed, 1),
    (
        "wait",
        "completed without images",
        [snapshot("completed", result=None)],
        api.UnexpectedResponse,
        1,
    ),
]


@pytest.mark.parametrize(
    ("name", "responses", "expected", "gets"),
    [pytest.param(case[0], *case[2:], id=f"{case[0]}: {case[1]}") for case in POLLS],
)
def test_a_failed_poll_is_retried_only_if_that_can_help(
    attempt: Callable[..., Any],
    clock: InstantClock,
    name: str,
    responses: list[bytes],
    expected: type[Exception] | None,
    gets: int,
) -> None:
    with serving(responses) as server:
        if expected is None:
            assert attempt(server.url, name, clock).image_urls == ["https://a/b"]
        else:
            with pytest.raises(expected) as caught:
                attempt(server.url, name, clock)
            assert type(caught.value) is expected
            assert getattr(caught.value, "task_id", None) == "t-1"
            assert type(pickle.loads(pickle.dumps(caught.value))) is expected  # noqa: S301
    assert len(server.requests) == gets


def test_a_wait_timeout_has_the_last_failure_as_its_cause(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    start = clock.now
    with (
        serving([snapshot("processing"), response(500)]) as server,
        pytest.raises(api.WaitTimeout) as caught,
    ):
        attempt(server.url, "wait", clock)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value.__cause__, api.ServerError)
    assert caught.value.task_id == "t-1"
    assert clock.now - start == pytest.approx(30)
    assert clock.sleeps[0] >= 3
    assert max(clock.sleeps) <= 10


def test_waiting_continues_on_an_unknown_status_with_one_warning(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with (
        serving([snapshot("dreaming"), snapshot("dreaming"), DONE]) as server,
        pytest.warns(api.ContractWarning, match="dreaming") as warned,
    ):
        assert attempt(server.url, "wait", clock).status == "completed"
    assert len(warned) == 1


def test_a_wrapped_snapshot_is_read_with_a_warning(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    wrapped = response(200, {"data": {"taskId": "t-1", "status": "pending"}})
    with serving([wrapped]) as server, pytest.warns(api.ContractWarning):
        assert attempt(server.url, "fetch", clock).status == "pending"


@pytest.fixture
def trickle() -> Iterator[str]:
    """The URL of a server that sends an endless response one byte at a time."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            try:
                while not stop.wait(0.02):
                    connection.sendall(b" ")
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    thread.join()
    listener.close()


def test_the_deadline_ends_a_trickling_response(
    attempt: Callable[..., Any], clock: InstantClock, trickle: str
) -> None:
    with pytest.raises(api.SubmissionUnknown, match="the deadline passed"):
        attempt(trickle, "submit", clock, timeout=httpx.Timeout(0.1))


def test_ctrl_c_while_waiting_logs_the_task_id(
    banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(snapshot: object) -> None:
        raise KeyboardInterrupt

    task = banana.generate("a cat")
    with pytest.raises(KeyboardInterrupt):
        task.wait(on_update=interrupt)
    assert task.id in caplog.text


def test_ctrl_c_in_the_pause_after_a_429_logs_nothing(
    clock: InstantClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(clock, "sleep", interrupt)
    with (
        serving([response(429)]) as server,
        NanoBanana(KEY, base_url=server.url, clock=clock) as banana,
        pytest.raises(KeyboardInterrupt),
    ):
        banana.generate("a cat")
    assert not [each for each in caplog.records if each.name == "mountsea_banana"]


def test_a_download_reports_an_expired_url() -> None:
    with serving([response(403)]) as server:
        result = api.TaskResult("t-1", "completed", {"result": {"imageUrls": [server.url]}})
        with pytest.raises(api.DownloadError, match="expired") as caught:
            result.read()
    assert caught.value.url == server.url
    assert b"authorization" not in server.requests[0].lower()


def test_a_truncated_download_is_an_error() -> None:
    with serving([response(200, b"\x89PNG\r\n\x1a\n", length=99)]) as server:
        result = api.TaskResult("t-1", "completed", {"result": {"imageUrls": [server.url]}})
        with pytest.raises(api.DownloadError, match="RemoteProtocolError"):
            result.read()


@pytest.mark.parametrize("number", range(8))
def test_no_kind_of_client_loses_or_doubles_a_charge_under_a_sample_of_the_faults(
    number: int,
) -> None:
    # Each kind gets a few of its faults, and the next kind gets others.
    kinds = list(enumerate(KINDS))[number::8]
    rows = [row for at, name in kinds for row in try_kind(name, 12, at % 3)]
    lines: list[str] = []
    counts = report(rows, lines.append)
    assert counts == {"combinations": len(rows), **dict.fromkeys(PROBLEMS, 0)}, "\n".join(lines)


def test_the_report_shows_the_combinations_with_a_problem_or_all() -> None:
    rows = [
        Row("500", "a client", False, "ServerError", None, 2, 2, [LOST, TWICE]),
        Row("accepted", "a client", True, None, "t-1", 1, 1, []),
    ]
    lines: list[str] = []
    counts = report(rows, lines.append)
    assert (counts["combinations"], counts[LOST], counts[TWICE], counts[DIFFERENT]) == (2, 1, 1, 0)
    assert lines[0] == HEAD
    assert " ".join(lines[1].split()) == (
        "500 a client sync ServerError - 2 2 charged and unknown to the caller; charged twice"
    )
    assert lines[2:5] == ["combinations: 2", f"{LOST}: 1", f"{TWICE}: 1"]
    lines.clear()
    report(rows, lines.append, shows_all=True)
    assert len([line for line in lines if "a client" in line]) == 2
