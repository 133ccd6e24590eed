"""A server that fails in every way and counts what it charges.

`python -m tests.faults` tries every fault with every kind of client, and prints the combinations
that have a problem, or all of them with `--all`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import ssl
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import mountsea_banana as api
from attrs import evolve, frozen
from httpx_aiohttp import AiohttpTransport
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana

from tests.http2 import HTTP2_CREATED, HTTP2_FAULTS, Http2Fault, Http2FaultServer
from tests.loopback import AUTHORITY, LoopbackServer, close_with_reset, server_tls, stall
from tests.proxies import FORWARDING_FAULTS, TUNNEL_FAULTS, ProxyFault, behind_proxy

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

    @property
    def is_racy(self) -> bool:
        """Whether it depends on the moment that a reset arrives what the client sees."""
        return self.read == "nothing"

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than a few milliseconds."""
        return self.stalls or self.trickles or bool(self.tail[1])


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
QUICK: Sequence[Fault] = [each for each in FAULTS if not each.is_slow]
HTTP2_QUICK: Sequence[Http2Fault] = [each for each in HTTP2_FAULTS if not each.is_slow]


class FaultServer(LoopbackServer):
    """Serves the next of its faults to each connection, and repeats the last one."""

    def __init__(self, *faults: Fault, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._faults = list(faults)

    def expect(self, *faults: Fault) -> None:
        """Serve these faults from now on, and forget the previous requests and charges."""
        self._faults = list(faults)
        self.requests.clear()
        self.charged = 0

    def handle(self, connection: socket.socket) -> None:
        while self._reply(connection, self._next()).keeps:
            pass

    def _next(self) -> Fault:
        return self._faults.pop(0) if len(self._faults) > 1 else self._faults[0]

    def _reply(self, connection: socket.socket, fault: Fault) -> Fault:
        received = self._read(connection, fault.read)
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
            stall(connection)
        if fault.resets:
            close_with_reset(connection)
        return fault

    def _read(self, connection: socket.socket, how_much: str) -> bytes:
        received = b""
        try:
            while not _is_read(received, how_much):
                if not (more := connection.recv(65536)):
                    raise ConnectionAbortedError
                received += more
        finally:
            if received:
                self.requests.append(received)
        return received


def _is_read(received: bytes, how_much: str) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if how_much != "all":
        return bool(end) or how_much == "nothing"
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line[:15] == b"content-length:"), 0)
    return bool(end) and len(body) >= length


def serve_tls(fault: Fault) -> FaultServer:
    """Return a server that speaks TLS."""
    return FaultServer(fault, tls=server_tls())


def serve_http2_tls(fault: Http2Fault) -> Http2FaultServer:
    """Return a server that speaks HTTP/2 over TLS."""
    return Http2FaultServer(fault, server_tls("h2"))


# Created once, because it takes longer than a call.
_TLS = httpx.create_ssl_context()
AUTHORITY.configure_trust(_TLS)
DEFAULT_HTTP: Mapping[str, Any] = {"verify": _TLS}


@frozen
class Outcome:
    """The outcome of one call."""

    result: Any
    error: BaseException | None
    task_id: str | None
    """The task id that the caller received."""


def run_action(
    url: str,
    name: str,
    *,
    is_async: bool,
    clock: InstantClock,
    http: Mapping[str, Any] | None = DEFAULT_HTTP,
    **options: Any,
) -> Any:
    """Submit, fetch, wait or read with a client of either kind, and return its result.

    `http` are the options of the httpx client that it is given; None for a client of its own.
    """
    settings = {"base_url": url, "timeout": TIMEOUT, "clock": clock, **options}
    if is_async:
        return asyncio.run(_run_action_async(url, name, http, settings))
    with contextlib.ExitStack() as stack:
        client = None if http is None else stack.enter_context(httpx.Client(**http))
        banana = stack.enter_context(NanoBanana(KEY, http_client=client, **settings))
        return _dispatch(banana, url, name)


async def _run_action_async(
    url: str, name: str, http: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> Any:
    async with contextlib.AsyncExitStack() as stack:
        client = None
        if http is not None:
            client = await stack.enter_async_context(httpx.AsyncClient(**http))
        banana = AsyncNanoBanana(KEY, http_client=client, **settings)
        await stack.enter_async_context(banana)
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


def catch_outcome(
    url: str,
    name: str,
    *,
    is_async: bool,
    http: Mapping[str, Any] | None = DEFAULT_HTTP,
) -> Outcome:
    """Do what `run_action` does and return the outcome, even if it is an exception."""
    try:
        result = run_action(url, name, is_async=is_async, clock=InstantClock(), http=http)
    except BaseException as error:
        return Outcome(None, error, getattr(error, "task_id", None))
    return Outcome(result, None, getattr(result, "id", None) or getattr(result, "task_id", None))


def errors() -> Mapping[str, Callable[[httpx.Request], Exception]]:
    """Return a function for each of httpx's exceptions that creates it, by its name."""
    other = httpx.Request("GET", "https://other.example")

    def of(kind: Any) -> Callable[[httpx.Request], Exception]:
        if issubclass(kind, httpx.HTTPStatusError):
            status = httpx.Response(429, request=other)
            return lambda _: kind("an error", request=other, response=status)
        if issubclass(kind, httpx.RequestError):
            return lambda request: kind("an error", request=request)
        takes_no_message = issubclass(kind, httpx.StreamError) and kind is not httpx.StreamError
        arguments = [] if takes_no_message else ["an error"]
        return lambda _: kind(*arguments)

    kinds = (getattr(httpx, name) for name in httpx.__all__)
    return {
        kind.__name__: of(kind)
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, Exception)
    }


class Untraced(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport that reports nothing, like that of another HTTP library.

    `map_error` replaces the errors of a connection.
    """

    def __init__(self, map_error: Callable[[Exception], Exception] = lambda error: error) -> None:
        self._map_error = map_error

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        copy = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=request.content,
            extensions={"timeout": TIMEOUT.as_dict()},
        )
        try:
            with httpx.HTTPTransport(verify=_TLS) as transport:
                got = transport.handle_request(copy)
                try:
                    body = b"".join(got.iter_raw())
                finally:
                    got.close()
                return httpx.Response(
                    got.status_code, headers=got.headers, stream=httpx.ByteStream(body)
                )
        except Exception as error:
            raise self._map_error(error) from None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def as_hook(hook: Callable[[Any], object], *, is_async: bool) -> Callable[[Any], Any]:
    """Return an event hook for a client of either kind."""

    async def run(message: Any) -> None:
        hook(message)

    return run if is_async else hook


AnyFault = Fault | Http2Fault | ProxyFault
Serve = Callable[[Any], AbstractContextManager[LoopbackServer]]
Options = Callable[[LoopbackServer, bool], Mapping[str, Any]]


@frozen
class Kind:
    """A kind of httpx client that a user may pass in."""

    name: str
    options: Options | None
    """The options of the httpx client; None for the client's own one."""
    faults: Sequence[AnyFault]
    """The faults to try it with."""
    serve: Serve = FaultServer
    """Returns the server with a fault, and with its proxy if it has one."""
    variants: Sequence[bool] = (False, True)
    """Whether the client is asynchronous: one of them, or both."""


# Without TLS, a client can only know beforehand that a server speaks HTTP/2.
HTTP2: Mapping[str, Any] = {"http1": False, "http2": True}


def _always(**options: Any) -> Options:
    return lambda server, is_async: {"verify": _TLS, "proxy": server.proxy, **options}


def _retries(**options: Any) -> Options:
    def make(server: LoopbackServer, is_async: bool) -> Mapping[str, Any]:
        kind = httpx.AsyncHTTPTransport if is_async else httpx.HTTPTransport
        return {"transport": kind(verify=_TLS, proxy=server.proxy, retries=3, **options)}

    return make


def _aiohttp(**options: Any) -> Options:
    def make(server: LoopbackServer, is_async: bool) -> Mapping[str, Any]:
        proxy = httpx.Proxy(server.proxy) if server.proxy else None
        return {"transport": AiohttpTransport(verify=_TLS, proxy=proxy), **options}

    return make


def _hook(event: str, hook: Callable[[Any], object], **options: Any) -> Options:
    return lambda server, is_async: {
        "verify": _TLS,
        "event_hooks": {event: [as_hook(hook, is_async=is_async)]},
        **options,
    }


def _raising_hook(
    event: str, make: Callable[[httpx.Request], Exception], **options: Any
) -> Options:
    def hook(message: Any) -> None:
        raise make(httpx.Request("GET", "https://metrics.example"))

    return _hook(event, hook, **options)


def _mock(make: Callable[[httpx.Request], Exception], *, charges: bool) -> Options:
    def options(server: LoopbackServer, is_async: bool) -> Mapping[str, Any]:
        def handle(request: httpx.Request) -> httpx.Response:
            if charges:
                _charge(server)
            raise make(request)

        return {"transport": httpx.MockTransport(handle)}

    return options


def _charge(server: LoopbackServer) -> None:
    server.requests.append(b"POST")
    server.charged += 1


def _asgi(outcome: int | Exception) -> Options:
    def options(server: LoopbackServer, is_async: bool) -> Mapping[str, Any]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            _charge(server)
            if isinstance(outcome, Exception):
                raise outcome
            await send({"type": "http.response.start", "status": outcome, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(ID).encode()})

        return {"transport": httpx.ASGITransport(app)}

    return options


def _wsgi(outcome: int | Exception) -> Options:
    def options(server: LoopbackServer, is_async: bool) -> Mapping[str, Any]:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            _charge(server)
            if isinstance(outcome, Exception):
                raise outcome
            start_response(f"{outcome} X", [])
            return [json.dumps(ID).encode()]

        return {"transport": httpx.WSGITransport(app)}

    return options


def _reading_hook(**options: Any) -> Options:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    return lambda server, is_async: {
        "verify": _TLS,
        "event_hooks": {"response": [read if is_async else httpx.Response.read]},
        **options,
    }


def _server_as_proxy(server: LoopbackServer, is_async: bool) -> Mapping[str, Any]:
    return {"verify": _TLS, "proxy": server.url}


def _raise_for_status(response: httpx.Response) -> None:
    response.raise_for_status()


def _kinds() -> Iterator[Kind]:
    yield Kind("the client's own", None, FAULTS)
    yield Kind("an httpx client", _always(), FAULTS)
    yield Kind("HTTPTransport(retries=3)", _retries(), FAULTS)
    yield Kind("follow_redirects=True", _always(follow_redirects=True), FAULTS)
    yield Kind("raise_for_status hook", _hook("response", _raise_for_status), FAULTS)
    yield Kind("a hook that reads the body", _reading_hook(), FAULTS)
    yield Kind("a proxy that replies itself", _server_as_proxy, FAULTS)
    yield Kind("httpx-aiohttp", _aiohttp(), FAULTS, variants=(True,))
    untraced = Untraced()
    yield Kind("a foreign transport", lambda *_: {"transport": untraced}, QUICK)
    yield Kind("TLS", _always(), QUICK, serve_tls)
    yield from _http2_kinds()
    yield from _proxy_kinds()
    yield from _raising_kinds()


def _http2_kinds() -> Iterator[Kind]:
    kinds = {
        "retries=3": _retries(**HTTP2),
        "raise_for_status hook": _hook("response", _raise_for_status, **HTTP2),
        "a hook that reads the body": _reading_hook(**HTTP2),
        "follow_redirects=True": _always(follow_redirects=True, **HTTP2),
    }
    yield Kind("HTTP/2", _always(**HTTP2), HTTP2_FAULTS, Http2FaultServer)
    for name, options in kinds.items():
        yield Kind(f"HTTP/2, {name}", options, HTTP2_QUICK, Http2FaultServer)
    yield Kind("HTTP/2 over TLS", _always(http2=True), HTTP2_QUICK, serve_http2_tls)
    yield Kind("HTTP/2 with a server of HTTP/1.1", _always(**HTTP2), QUICK)


def _through_proxy(serve: Callable[[Any], LoopbackServer]) -> Serve:
    return lambda fault: behind_proxy(serve(fault))


def _through_failing_proxy(serve: Callable[[Any], LoopbackServer], fault: AnyFault) -> Serve:
    return lambda proxy_fault: behind_proxy(serve(fault), proxy_fault)


def _proxy_kinds() -> Iterator[Kind]:
    """Yield clients of a proxy that works, with every fault of a server, and of one that fails."""
    http2 = _always(http2=True)
    http2_tunnel = _through_proxy(serve_http2_tls)
    yield Kind("a forwarding proxy", _always(), QUICK, _through_proxy(FaultServer))
    yield Kind("a tunnel", _always(), QUICK, _through_proxy(serve_tls))
    yield Kind("HTTP/2 through a tunnel", http2, HTTP2_QUICK, http2_tunnel)
    forwarding = _through_failing_proxy(FaultServer, CREATED)
    tunnel = _through_failing_proxy(serve_tls, CREATED)
    http2_tunnel = _through_failing_proxy(serve_http2_tls, HTTP2_CREATED)
    for name, options, variants in (
        ("", _always(), (False, True)),
        (", retries=3", _retries(), (False, True)),
        (", httpx-aiohttp", _aiohttp(), (True,)),
    ):
        prefix = "a forwarding proxy that fails"
        yield Kind(f"{prefix}{name}", options, FORWARDING_FAULTS, forwarding, variants)
        yield Kind(f"a tunnel that fails{name}", options, TUNNEL_FAULTS, tunnel, variants)
    yield Kind("a tunnel that fails, HTTP/2", http2, TUNNEL_FAULTS, http2_tunnel)


def _raising_kinds() -> Iterator[Kind]:
    """Yield clients whose hooks, transport or application raises each of httpx's exceptions."""
    whole = [each for each in QUICK if each.read == "all"]
    few = [CREATED, *(each for each in QUICK if each.name in ("400", "500", "closed at once"))]
    http2_few = [each for each in HTTP2_FAULTS if each.name in ("accepted", "400", "500")]
    for name, make in errors().items():
        in_response, in_request = f"{name} in a response hook", f"{name} in a request hook"
        yield Kind(in_response, _raising_hook("response", make), whole)
        yield Kind(in_request, _raising_hook("request", make), few)
        http2_hook = _raising_hook("response", make, **HTTP2)
        yield Kind(f"{in_response}, HTTP/2", http2_hook, http2_few, Http2FaultServer)
        for charges in (False, True):
            moment = "after a charge" if charges else "before a charge"
            yield Kind(f"{name} in a transport {moment}", _mock(make, charges=charges), [CREATED])
    for outcome in (201, 500, OSError("no"), httpx.ConnectError("no")):
        yield Kind(f"ASGI: {outcome!r}", _asgi(outcome), [CREATED], variants=(True,))
        yield Kind(f"WSGI: {outcome!r}", _wsgi(outcome), [CREATED], variants=(False,))


KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _kinds()}


@frozen
class Row:
    """What one fault did to one kind of client."""

    fault: str
    kind: str
    is_async: bool
    error: str | None
    """The name of the exception's class; None if there was none."""
    task_id: str | None
    posts: int
    charged: int
    problems: Sequence[str]
    """Which of `PROBLEMS` the combination has."""

    def __str__(self) -> str:
        client = "async" if self.is_async else "sync"
        return (
            f"{self.fault:<52} {self.kind:<42.42} {client:<6} {self.error or 'a task':<22} "
            f"{self.task_id or '-':<8} {self.posts:>5} {self.charged:>7} {'; '.join(self.problems)}"
        )


LOST = "charged and unknown to the caller"
TWICE = "charged twice"
LEFT = 'left after "nothing was sent" was said'
UNDOCUMENTED = "undocumented exceptions"
DIFFERENT = "sync and async differ"
PROBLEMS: Sequence[str] = (LOST, TWICE, LEFT, UNDOCUMENTED, DIFFERENT)


HEAD = f"{'fault':<52} {'client':<49} {'outcome':<22} {'task id':<8} POSTs charged"


def _try(fault: AnyFault, kind: Kind, *, is_async: bool) -> Row:
    with kind.serve(fault) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        http = dict(kind.options(server, is_async)) if kind.options else None
        outcome = catch_outcome(server.url, "submit", is_async=is_async, http=http)
    error = outcome.error
    is_known = outcome.task_id is not None or isinstance(error, api.SubmissionUnknown)
    found = {
        LOST: server.charged and not is_known,
        TWICE: server.charged > 1,
        LEFT: server.posts and isinstance(error, api.APIConnectionError),
        UNDOCUMENTED: not isinstance(error, api.NanoBananaError | None),
    }
    return Row(
        fault=fault.name,
        kind=kind.name,
        is_async=is_async,
        error=type(error).__name__ if error else None,
        task_id=outcome.task_id,
        posts=server.posts,
        charged=server.charged,
        problems=[name for name, is_found in found.items() if is_found],
    )


def try_kind(name: str, every: int = 1, offset: int = 0) -> list[Row]:
    """Try a kind of client with every n-th of its faults, beginning with the one at `offset`."""
    kind = KINDS[name]
    return [row for fault in kind.faults[offset::every] for row in _try_variants(fault, kind)]


def _try_variants(fault: AnyFault, kind: Kind) -> Sequence[Row]:
    # Whether a reset arrives before the request leaves is a matter of microseconds, so only a
    # difference that repeats counts, and none if the fault is a race anyway.
    rows: list[Row] = []
    if fault.is_racy:
        return [_try(fault, kind, is_async=is_async) for is_async in kind.variants]
    for _ in range(5):
        rows = [_try(fault, kind, is_async=is_async) for is_async in kind.variants]
        if len({(row.error, row.task_id, row.charged) for row in rows}) == 1:
            return rows
        if any(row.problems for row in rows):
            break
    return [evolve(row, problems=[*row.problems, DIFFERENT]) for row in rows]


def report(
    rows: Iterable[Row], write: Callable[[str], object] = print, *, shows_all: bool = False
) -> Mapping[str, int]:
    """Write a table of the rows that have a problem, or of all, and the counts; return these."""
    counts: dict[str, int] = dict.fromkeys(["combinations", *PROBLEMS], 0)
    has_head = False
    for row in rows:
        if shows_all or row.problems:
            if not has_head:
                write(HEAD)
            has_head = True
            write(str(row))
        counts["combinations"] += 1
        for problem in row.problems:
            counts[problem] += 1
    for name, count in counts.items():
        write(f"{name}: {count:,}")
    return counts


def main(arguments: Sequence[str]) -> int:
    """Try every combination in a process for each core; return 1 if one has a problem."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = (row for found in pool.map(try_kind, KINDS) for row in found)
        counts = report(rows, shows_all="--all" in arguments)
    return int(any(counts[name] for name in PROBLEMS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
