"""What a broken server may cost: nothing sent twice, nothing lost, and the key shown to nobody."""

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

from tests.faults import KEY, Fault, FaultServer, act, answer

DROP = b""
CREATED = answer(201, {"taskId": "t-1"})


def serving(answers: Sequence[bytes]) -> FaultServer:
    """Return a server that gives each connection the next of these answers, the last for ever."""
    return FaultServer(*(Fault("an answer", text) for text in answers))


@pytest.fixture(params=["sync", "async"])
def attempt(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return what calls a client of either kind against a server's answers."""

    def run(url: str, name: str, clock: InstantClock, **options: Any) -> Any:
        is_async = request.param == "async"
        return act(url, name, is_async=is_async, clock=clock, **{"timeout": 5, **options})

    return run


def look(status: str, **fields: object) -> bytes:
    return answer(200, {"taskId": "t-1", "status": status, **fields})


DONE = look("completed", result={"imageUrls": ["https://a/b"]})
HTML = answer(200, b"<html>gateway</html>")

SUBMISSIONS: list[tuple[str, list[bytes], str | type[Exception], int]] = [
    ("accepted", [CREATED], "t-1", 1),
    ("429, then accepted", [answer(429, b"", "Retry-After: 2"), CREATED], "t-1", 2),
    ("429 without Retry-After", [answer(429), CREATED], "t-1", 2),
    ("429 for ever", [answer(429)], api.RateLimitError, 3),
    ("429 for an hour", [answer(429, b"", "Retry-After: 3600")], api.RateLimitError, 1),
    ("503 with Retry-After", [answer(503, b"", "Retry-After: 2"), CREATED], "t-1", 2),
    ("503 for ever", [answer(503, b"", "Retry-After: 0")], api.ServerError, 3),
    (
        "503 malformed",
        [answer(503, b"", "Retry-After: soon"), CREATED],
        api.SubmissionServerError,
        1,
    ),
    ("503 without", [answer(503), CREATED], api.SubmissionServerError, 1),
    ("500", [answer(500, {"message": "oh"}), CREATED], api.SubmissionServerError, 1),
    ("520", [answer(520, b"<html>"), CREATED], api.SubmissionServerError, 1),
    ("599", [answer(599), CREATED], api.SubmissionServerError, 1),
    ("dropped", [DROP, CREATED], api.SubmissionUnknown, 1),
    ("garbage", [b"garbage\r\n\r\n", CREATED], api.SubmissionUnknown, 1),
    ("cut", [answer(201, b'{"taskId": "t-', length=99)], api.SubmissionUnknown, 1),
    ("cut after the id", [answer(201, b'{"taskId": "t-1"', length=99)], api.SubmissionUnknown, 1),
    ("bad gzip", [answer(201, b"no", "Content-Encoding: gzip")], api.SubmissionUnknown, 1),
    ("huge", [answer(201, b" " * (9 << 20))], api.SubmissionUnknown, 1),
    ("empty", [answer(201), CREATED], api.SubmissionUnreadable, 1),
    ("204", [answer(204)], api.SubmissionUnreadable, 1),
    ("HTML", [answer(201, b"<html>"), CREATED], api.SubmissionUnreadable, 1),
    ("a number", [answer(201, {"taskId": 5})], api.SubmissionUnreadable, 1),
    ("a list", [answer(201, [])], api.SubmissionUnreadable, 1),
    ("deep", [answer(201, b"[" * 100_000)], api.SubmissionUnreadable, 1),
    ("no JSON with an id", [answer(201, b'"taskId": "t-1", x')], api.SubmissionUnreadable, 1),
    ("a long number", [answer(201, b'{"taskId": "t-1", "x": ' + b"9" * 5000 + b"}")], "t-1", 1),
    ("400", [answer(400, {"error": "no"}), CREATED], api.BadRequestError, 1),
    ("401", [answer(401)], api.AuthenticationError, 1),
    ("402", [answer(402)], api.APIStatusError, 1),
    ("403", [answer(403)], api.PermissionDeniedError, 1),
    ("404", [answer(404)], api.NotFoundError, 1),
    ("422", [answer(422)], api.BadRequestError, 1),
    ("302", [answer(302, b"", "Location: /elsewhere"), CREATED], api.APIStatusError, 1),
    ("echo", [answer(400, {"message": KEY, "x": "sk-secret\\/key-1"})], api.BadRequestError, 1),
    (
        "echo with an id",
        [answer(201, {"taskId": "", "x": KEY}, f"X-Echo: {KEY}")],
        api.SubmissionUnreadable,
        1,
    ),
]


@pytest.mark.parametrize(
    ("answers", "expected", "posts"),
    [pytest.param(*case[1:], id=case[0]) for case in SUBMISSIONS],
)
def test_a_submission_is_sent_again_only_where_it_cannot_have_been_accepted(
    attempt: Callable[..., Any],
    clock: InstantClock,
    caplog: pytest.LogCaptureFixture,
    answers: list[bytes],
    expected: str | type[Exception],
    posts: int,
) -> None:
    caplog.set_level(logging.INFO)
    with serving(answers) as server:
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


def test_an_id_that_was_read_before_the_answer_broke_is_kept(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with (
        serving([answer(201, b'{"taskId": "t-1"', length=99)]) as server,
        pytest.raises(api.SubmissionUnknown, match="pick it up") as caught,
    ):
        attempt(server.url, "submit", clock)
    assert caught.value.task_id == "t-1"


@pytest.mark.parametrize(
    "given", [answer(201, {"data": {"taskId": "t-1"}}), answer(200, {"taskId": "t-1"})]
)
def test_a_readable_id_gives_a_task_and_a_warning(
    attempt: Callable[..., Any], clock: InstantClock, given: bytes
) -> None:
    with serving([given]) as server, pytest.warns(api.ContractWarning):
        assert attempt(server.url, "submit", clock).id == "t-1"


def test_no_warning_costs_a_task(
    attempt: Callable[..., Any], clock: InstantClock, caplog: pytest.LogCaptureFixture
) -> None:
    with serving([answer(200, {"taskId": "t-1"})]) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attempt(server.url, "submit", clock).id == "t-1"
    assert "not 201" in caplog.text


def test_a_request_that_never_left_is_sent_again(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(api.APIConnectionError, match="nothing was charged"):
        attempt(url, "submit", clock)
    assert len(clock.sleeps) == 2


def test_a_silent_server_leaves_a_submission_unknown_and_a_look_timed_out(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(api.SubmissionUnknown):
            attempt(url, "submit", clock, timeout=httpx.Timeout(0.05))
        with pytest.raises(api.APITimeoutError):
            attempt(url, "fetch", clock, timeout=httpx.Timeout(0.05), max_retries=0)


LOOKS: list[tuple[str, str, list[bytes], type[Exception] | None, int]] = [
    ("fetch", "500, then fine", [answer(500), DONE], None, 2),
    ("fetch", "500 for ever", [answer(500)], api.ServerError, 3),
    ("fetch", "dropped", [DROP, DROP, DONE], None, 3),
    ("fetch", "cut", [answer(200, b"{", length=9), DONE], None, 2),
    ("fetch", "HTML", [HTML], api.UnexpectedResponse, 1),
    (
        "fetch",
        "another task",
        [answer(200, {"taskId": "t-2", "status": "x"})],
        api.UnexpectedResponse,
        1,
    ),
    ("fetch", "no status", [answer(200, {"taskId": "t-1"})], api.UnexpectedResponse, 1),
    ("fetch", "408", [answer(408)], api.APIStatusError, 1),
    ("wait", "408, HTML, drop, then fine", [answer(408), HTML, DROP, DONE], None, 4),
    ("wait", "ready is not done", [look("ready"), look("queued"), DONE], None, 3),
    ("wait", "401", [answer(401)], api.AuthenticationError, 1),
    ("wait", "429 within", [answer(429, b"", "Retry-After: 9"), DONE], None, 2),
    ("wait", "429 past the deadline", [answer(429, b"", "Retry-After: 50")], api.RateLimitError, 1),
    ("wait", "429 too long", [answer(429, b"", "Retry-After: 9000")], api.RateLimitError, 1),
    (
        "wait",
        "a date",
        [answer(429, b"", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"), DONE],
        None,
        2,
    ),
    ("wait", "failed", [look("failed", errorMessage="no", errorCode=7)], api.TaskFailed, 1),
    ("wait", "cancelled", [look("cancelled")], api.TaskFailed, 1),
    ("wait", "timeout", [look("timeout")], api.TaskFailed, 1),
    ("wait", "no picture", [look("completed", result=None)], api.UnexpectedResponse, 1),
]


@pytest.mark.parametrize(
    ("name", "answers", "expected", "gets"),
    [pytest.param(case[0], *case[2:], id=f"{case[0]}: {case[1]}") for case in LOOKS],
)
def test_a_look_that_fails_is_made_again_while_that_can_help(
    attempt: Callable[..., Any],
    clock: InstantClock,
    name: str,
    answers: list[bytes],
    expected: type[Exception] | None,
    gets: int,
) -> None:
    with serving(answers) as server:
        if expected is None:
            assert attempt(server.url, name, clock).image_urls == ["https://a/b"]
        else:
            with pytest.raises(expected) as caught:
                attempt(server.url, name, clock)
            assert type(caught.value) is expected
            assert getattr(caught.value, "task_id", None) == "t-1"
            assert type(pickle.loads(pickle.dumps(caught.value))) is expected  # noqa: S301
    assert len(server.requests) == gets


def test_waiting_ends_at_its_deadline_with_the_last_failure_as_cause(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    start = clock.now
    with (
        serving([look("processing"), answer(500)]) as server,
        pytest.raises(api.WaitTimeout) as caught,
    ):
        attempt(server.url, "wait", clock)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value.__cause__, api.ServerError)
    assert caught.value.task_id == "t-1"
    assert clock.now - start == pytest.approx(30)
    assert clock.sleeps[0] >= 3
    assert max(clock.sleeps) <= 10


def test_an_unknown_status_keeps_waiting_with_one_warning(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    with (
        serving([look("dreaming"), look("dreaming"), DONE]) as server,
        pytest.warns(api.ContractWarning, match="dreaming") as warned,
    ):
        assert attempt(server.url, "wait", clock).status == "completed"
    assert len(warned) == 1


def test_a_wrapped_look_is_read_with_a_warning(
    attempt: Callable[..., Any], clock: InstantClock
) -> None:
    wrapped = answer(200, {"data": {"taskId": "t-1", "status": "pending"}})
    with serving([wrapped]) as server, pytest.warns(api.ContractWarning):
        assert attempt(server.url, "fetch", clock).status == "pending"


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server whose answer never ends, a byte at a time."""
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


def test_the_deadline_cuts_an_answer_that_trickles(
    attempt: Callable[..., Any], clock: InstantClock, trickle: str
) -> None:
    with pytest.raises(api.SubmissionUnknown, match="time was up"):
        attempt(trickle, "submit", clock, timeout=httpx.Timeout(0.1))


def test_ctrl_c_while_waiting_logs_the_task(
    banana: NanoBanana, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(look: object) -> None:
        raise KeyboardInterrupt

    task = banana.generate("a cat")
    with pytest.raises(KeyboardInterrupt):
        task.wait(on_update=interrupt)
    assert task.id in caplog.text


def test_ctrl_c_while_submitting_says_what_it_may_have_cost(
    clock: InstantClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(clock, "sleep", interrupt)
    with (
        serving([answer(429)]) as server,
        NanoBanana(KEY, base_url=server.url, clock=clock) as banana,
        pytest.raises(KeyboardInterrupt),
    ):
        banana.generate("a cat")
    assert "may have been accepted" in caplog.text


def test_a_download_says_when_its_link_has_expired() -> None:
    with serving([answer(403)]) as server:
        result = api.TaskResult("t-1", "completed", {"result": {"imageUrls": [server.url]}})
        with pytest.raises(api.DownloadError, match="expired") as caught:
            result.read()
    assert caught.value.url == server.url
    assert b"authorization" not in server.requests[0].lower()


def test_a_download_that_breaks_off_is_no_picture() -> None:
    with serving([answer(200, b"\x89PNG\r\n\x1a\n", length=99)]) as server:
        result = api.TaskResult("t-1", "completed", {"result": {"imageUrls": [server.url]}})
        with pytest.raises(api.DownloadError, match="RemoteProtocolError"):
            result.read()
