"""A server that fails in every way and counts what it charges.

`python -m tests.faults` tries every fault and prints the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import httpx
import mountsea_banana as api
from attrs import evolve, frozen
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana

KEY = "sk-secret/key-1"
TIMEOUT = httpx.Timeout(0.15)


@frozen
class Fault:
    """What the server does with one connection."""

    name: str
    text: bytes = b""
    """The raw response."""
    read: str = "all"
    """How much of the request it reads first: `nothing`, `head`, `half` or `all`."""
    charges: bool = False
    """Whether a completely read submission is accepted and charged."""
    resets: bool = False
    """Whether it resets the connection instead of closing it."""
    stalls: bool = False
    """Whether it then stays silent until the client disconnects."""
    trickles: bool = False
    """Whether it sends the response one byte at a time."""
    tail: tuple[bytes, int] = (b"", 0)
    """The bytes to send after that, and how many times."""
    keeps: bool = False
    """Whether the connection stays open for the next fault."""


def response(
    status: int,
    body: object = b"",
    *headers: str,
    length: int | None = None,
    connection: str = "close",
) -> bytes:
    """Return a complete HTTP response. `length` overrides the Content-Length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {size}", f"Connection: {connection}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + content


JSON = "Content-Type: application/json"
ID = {"taskId": "t-1"}
CREATED = Fault("accepted", response(201, ID, JSON), charges=True)
KEPT = evolve(CREATED, text=response(201, ID, JSON, connection="keep-alive"))


def _refused() -> Iterator[Fault]:
    for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422):
        yield Fault(f"{status}", response(status, {"message": f"no: {KEY}"}, f"X-Echo: {KEY}"))
    for wait in ("0", "2", "61", "999999999999", "soon", "-1", "Wed, 21 Oct 2093 07:28:00 GMT"):
        yield Fault(f"429, Retry-After: {wait}", response(429, b"", f"Retry-After: {wait}"))
    yield Fault("429 without Retry-After", response(429))
    yield Fault("503, Retry-After: 1", response(503, b"", "Retry-After: 1"))
    reason = f"HTTP/1.1 401 {KEY}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    yield Fault("401 with the key as its reason phrase", reason.encode())
    for place in ("/elsewhere", "http://127.0.0.1:1/", "ftp://x/"):
        yield Fault(f"302 to {place}", response(302, b"", f"Location: {place}"))
    yield Fault("307", response(307, b"", "Location: /gemini/image/generate"))
    yield Fault("304", response(304))


def _failures() -> Iterator[Fault]:
    for status in (500, 501, 502, 503, 504, 520, 524, 599):
        html = b"<html>" + KEY.encode()
        yield Fault(f"{status}", response(status, html, "Content-Type: text/html"), charges=True)
    yield Fault("503, Retry-After: soon", response(503, b"", "Retry-After: soon"), charges=True)


def _broken_connections() -> Iterator[Fault]:
    for resets in (True, False):
        end = "reset" if resets else "closed"
        yield Fault(f"{end} at once", read="nothing", resets=resets)
        yield Fault(f"{end} after the head", read="head", resets=resets)
        yield Fault(f"{end} after half the request", read="half", resets=resets)
        yield Fault(f"{end} before the response", charges=True, resets=resets)
        whole = response(201, {**ID, "pad": "x" * 200}, JSON)
        for share in (10, 70, 110, 200):
            name = f"{end} after {share} bytes of the response"
            yield Fault(name, whole[:share], charges=True, resets=resets)
    yield Fault("no response", charges=True, stalls=True)
    yield Fault("nothing read", read="nothing", charges=True, stalls=True)
    yield Fault("half the response, then nothing", CREATED.text[:60], charges=True, stalls=True)
    yield Fault("a byte at a time", CREATED.text + b" " * 400, charges=True, trickles=True)


def _odd_successes() -> Iterator[Fault]:
    zipped = "Content-Encoding: gzip"
    packer = zlib.compressobj(9, wbits=31)
    # A block after a full flush can be repeated. It decompresses to a thousand times its size.
    start, block = (packer.compress(b" " * 10**6) + packer.flush(zlib.Z_FULL_FLUSH) for _ in "12")
    bomb = response(201, start, zipped, length=10**7)
    yield Fault("201 with gzip of 2 GB", bomb, charges=True, tail=(block, 2000))
    long = response(201, length=10**8)
    yield Fault("201 with 100 MB", long, charges=True, tail=(b" " * 10**6, 100))
    for name, body, *headers in (
        ("an empty body", b""),
        ("HTML", b"<html>gateway</html>", "Content-Type: text/html"),
        ("half the JSON", b'{"taskId": "t-'),
        ("a number as the id", {"taskId": 5}),
        ("null as the id", {"taskId": None}),
        ("an empty id", {"taskId": ""}),
        ("a blank id", {"taskId": "  "}),
        ("an empty object", {}),
        ("a list", []),
        ("null", None),
        ("a wrapped id", {"data": ID}),
        ("a wrapped null", {"data": None}),
        ("extra fields", {**ID, "more": [1]}),
        ("another content type", ID, "Content-Type: text/plain"),
        ("an unknown charset", ID, "Content-Type: application/json; charset=klingon"),
        ("UTF-16", json.dumps(ID).encode("utf-16"), JSON),
        ("a non-ASCII header", ID, JSON, "X-Pad: caf\xe9"),
        ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(ID).encode()),
        ("invalid UTF-8", b'{"taskId": "t-1", "x": "\xff"}'),
        ("a lone surrogate", b'{"taskId": "t-1", "x": "\\ud800"}'),
        ("100,000 levels", b"[" * 100_000),
        ("a number of 5,000 digits", b'{"taskId": "t-1", "n": ' + b"9" * 5000 + b"}"),
        ("NaN", b'{"taskId": "t-1", "n": NaN}'),
        ("the key", {"taskId": "", "echo": KEY}, f"X-Echo: {KEY}"),
        ("invalid gzip", b"no gzip", zipped),
        ("a length too large", ID, "X: y"),
    ):
        length = 99_999 if "length" in name else None
        text = response(201, body, *(headers or [JSON]), length=length)
        yield Fault(f"201 with {name}", text, charges=True)
    for status in (200, 202, 206, 299):
        yield Fault(f"{status} with an id", response(status, ID, JSON), charges=True)
    yield Fault("204", b"HTTP/1.1 204 X\r\n\r\n", charges=True)
    yield Fault("not HTTP", b"220 mail.example.com ESMTP\r\n", charges=True)
    yield Fault("a header of 200 KB", response(201, ID, "X: " + "y" * 200_000), charges=True)
    yield Fault("two Content-Lengths", response(201, ID, "Content-Length: 1"), charges=True)
    yield Fault(
        "a malformed header with the key",
        f"HTTP/1.1 201 X\r\n{KEY}\r\n\r\n".encode(),
        charges=True,
    )
    yield Fault("101", b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", charges=True)
    yield Fault("100, then nothing", b"HTTP/1.1 100 Continue\r\n\r\n", charges=True)


FAULTS: Sequence[Fault] = (
    CREATED,
    *_refused(),
    *_failures(),
    *_broken_connections(),
    *_odd_successes(),
    evolve(KEPT, name="accepted, then the keep-alive connection closed"),
)


class FaultServer:
    """Serves the next of its faults to each connection, and repeats the last one."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = list(faults)
        self.requests: list[bytes] = []
        self.charged = 0

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    @property
    def posts(self) -> int:
        """The number of submissions received, complete or partial."""
        return sum(request.startswith(b"POST") for request in self.requests)

    def expect(self, *faults: Fault) -> None:
        """Serve these faults from now on, and forget the previous requests and charges."""
        self._faults = list(faults)
        self.requests.clear()
        self.charged = 0

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # the client may disconnect first
                while self._handle(connection, self._next()).keeps:
                    pass

    def _next(self) -> Fault:
        return self._faults.pop(0) if len(self._faults) > 1 else self._faults[0]

    def _handle(self, connection: socket.socket, fault: Fault) -> Fault:
        received = self._read(connection, fault.read)
        if received:
            self.requests.append(received)
        if fault.charges and received.startswith(b"POST"):
            self.charged += 1
        if fault.trickles:
            for index in range(len(fault.text)):
                connection.sendall(fault.text[index : index + 1])
                time.sleep(0.005)
        connection.sendall(fault.text)
        tail, times = fault.tail
        for _ in range(times):
            connection.sendall(tail)
        if fault.stalls:
            connection.settimeout(2)
            connection.recv(1)
        if fault.resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return fault

    def _read(self, connection: socket.socket, how_much: str) -> bytes:
        received = b""
        if how_much == "nothing":
            return received
        while b"\r\n\r\n" not in received:
            if not (more := connection.recv(65536)):
                return received
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        if how_much != "all":
            return received
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line[:15] == b"content-length:"), 0)
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


# Created once, because it takes longer than a call.
_TLS = httpx.create_ssl_context()


@frozen
class Outcome:
    """The outcome of one call."""

    result: Any
    error: BaseException | None
    task_id: str | None
    """The task id that the caller received."""


def run_action(url: str, name: str, *, is_async: bool, clock: InstantClock, **options: Any) -> Any:
    """Submit, fetch, wait or read with a client of either kind, and return its result."""
    settings = {"timeout": TIMEOUT, **options}
    if is_async:
        return asyncio.run(_run_action_async(url, name, clock, settings))
    with (
        httpx.Client(verify=_TLS) as http,
        NanoBanana(KEY, base_url=url, http_client=http, clock=clock, **settings) as banana,
    ):
        return _dispatch(banana, url, name)


async def _run_action_async(
    url: str, name: str, clock: InstantClock, settings: Mapping[str, Any]
) -> Any:
    async with (
        httpx.AsyncClient(verify=_TLS) as http,
        AsyncNanoBanana(KEY, base_url=url, http_client=http, clock=clock, **settings) as banana,
    ):
        return await _dispatch(banana, url, name)


def _dispatch(banana: Any, url: str, name: str) -> Any:
    kind = api.TaskResult if isinstance(banana, NanoBanana) else api.AsyncTaskResult
    result: Any = kind("t-1", "completed", {"result": {"imageUrls": [f"{url}/a.png"]}})
    actions: Mapping[str, Callable[[], Any]] = {
        "submit": lambda: banana.generate("a cat"),
        "fetch": lambda: banana.task("t-1").fetch(),
        "wait": lambda: banana.task("t-1").wait(timeout=30),
        "read": lambda: result.read(timeout=0.3),
    }
    return actions[name]()


def catch_outcome(url: str, name: str, *, is_async: bool) -> Outcome:
    """Do what `run_action` does and return the outcome, even if it is an exception."""
    try:
        result = run_action(url, name, is_async=is_async, clock=InstantClock())
    except BaseException as error:
        return Outcome(None, error, getattr(error, "task_id", None))
    return Outcome(result, None, getattr(result, "id", None) or getattr(result, "task_id", None))


def report(write: Callable[[str], object] = print) -> tuple[int, int, int]:
    """Try every fault on a submission and write a table of the outcomes.

    Returns three counts: charged tasks lost without SubmissionUnknown, calls charged twice, and
    undocumented exceptions.
    """
    lost = twice = undocumented = 0
    write(f"{'fault':<48} {'client':<6} {'outcome':<22} {'task id':<8} POSTs charged")
    for fault in FAULTS:
        for is_async in (False, True):
            with FaultServer(fault) as server:
                outcome = catch_outcome(server.url, "submit", is_async=is_async)
            is_known = outcome.task_id is not None or isinstance(
                outcome.error, api.SubmissionUnknown
            )
            lost += bool(server.charged and not is_known)
            twice += server.charged > 1
            undocumented += not isinstance(outcome.error, api.NanoBananaError | None)
            label = type(outcome.error).__name__ if outcome.error else "a task"
            write(
                f"{fault.name:<48} {'async' if is_async else 'sync':<6} {label:<22} "
                f"{outcome.task_id or '-':<8} {server.posts:>5} {server.charged:>7}"
            )
    write(f"charged tasks lost without SubmissionUnknown: {lost}")
    write(f"charged twice: {twice}")
    write(f"undocumented exceptions: {undocumented}")
    return lost, twice, undocumented


# The names that test_money, test_safety and test_command_line import.
answer = response
call = catch_outcome
Came = Outcome


if __name__ == "__main__":
    sys.exit(any(report()))
