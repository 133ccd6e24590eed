"""An HTTP/2 server that fails in every way and counts what it charges."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.loopback import LoopbackServer, close_with_reset, stall

ID = {"taskId": "t-1"}
JSON = ("content-type", "application/json")

Frame = Callable[[H2Connection, int], bytes]
"""Returns the bytes of a frame on a stream."""


@frozen
class Reply:
    """What the server does with one request."""

    frames: Sequence[Frame] = ()
    read: str = "all"
    """How much of the request it reads first: `nothing`, `preface`, `head`, `half` or `all`."""
    charges: bool = False
    """Whether a completely read submission is accepted and charged."""
    then: str = "keeps"
    """What it does with the connection then: `keeps`, `closes`, `resets` or `stalls`."""
    trickles: bool = False
    """Whether it pauses after each frame."""


@frozen
class Http2Fault:
    """What the server does with the requests that it receives; the last reply is repeated."""

    name: str
    replies: Sequence[Reply]

    @property
    def is_racy(self) -> bool:
        """Whether it depends on the moment that a reset arrives what the client sees."""
        first = self.replies[0]
        return first.read == "nothing" or (first.then == "resets" and bool(first.frames))

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than a few milliseconds."""
        return any(reply.then == "stalls" or reply.trickles for reply in self.replies)


def headers(status: int | str, *more: tuple[str, str], ends: bool = False) -> Frame:
    """Return the headers of a response, or a part of it; `ends` ends the response."""

    def frame(state: H2Connection, stream: int) -> bytes:
        state.send_headers(stream, [(":status", str(status)), *more], end_stream=ends)
        return state.data_to_send()

    return frame


def trailers(*fields: tuple[str, str]) -> Frame:
    """Return headers that end a response after its body."""

    def frame(state: H2Connection, stream: int) -> bytes:
        state.send_headers(stream, fields, end_stream=True)
        return state.data_to_send()

    return frame


def data(content: bytes, *, ends: bool = True, padding: int | None = None) -> Frame:
    """Return a part of a response body; `ends` ends the response."""

    def frame(state: H2Connection, stream: int) -> bytes:
        pieces = [content[at : at + 16_000] for at in range(0, len(content), 16_000)] or [b""]
        for piece in pieces[:-1]:
            state.send_data(stream, piece, pad_length=padding)
        state.send_data(stream, pieces[-1], end_stream=ends, pad_length=padding)
        return state.data_to_send()

    return frame


def rst_stream(code: ErrorCodes) -> Frame:
    """Return a frame that ends a request and its response."""
    return lambda _, stream: RstStreamFrame(stream, error_code=code).serialize()


def goaway(last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> Frame:
    """Return a frame that ends the connection; the streams after `last` were not processed."""
    return lambda *_: GoAwayFrame(last_stream_id=last, error_code=code).serialize()


def raw(content: bytes) -> Frame:
    """Return bytes that may be no frame at all."""
    return lambda *_: content


def response(status: int, body: object = b"", *more: tuple[str, str]) -> tuple[Frame, Frame]:
    """Return a complete response."""
    return headers(status, *more), data(_encoded(body))


def _encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


PING = raw(PingFrame(opaque_data=b"12345678").serialize())
ACCEPTED = response(201, ID, JSON)
BODY = _encoded(ID)
CREATED = Reply(ACCEPTED, charges=True)
BUSY = Reply((headers(429, ("retry-after", "1"), ends=True),))


READS = {
    "nothing": "nothing",
    "preface": "the preface",
    "head": "the request headers",
    "half": "half the request",
    "all": "the request",
}
PARTS = ("the headers", "half the body", "the whole body")


def _refused() -> Iterator[Http2Fault]:
    for status in (302, 307, 400, 401, 402, 403, 404, 408, 409, 421, 422):
        yield Http2Fault(f"{status}", [Reply(response(status, {"message": "no"}))])
    for wait in ("0", "2", "61", "soon"):
        refused = headers(429, ("retry-after", wait), ends=True)
        yield Http2Fault(f"429, Retry-After: {wait}", [Reply((refused,))])
    yield Http2Fault("429, then accepted on the same connection", [BUSY, CREATED])
    unavailable = headers(503, ("retry-after", "1"), ends=True)
    yield Http2Fault("503, Retry-After: 1", [Reply((unavailable,))])


def _failures() -> Iterator[Http2Fault]:
    for status in (500, 502, 503, 504, 520, 599):
        yield Http2Fault(f"{status}", [Reply(response(status, b"<html>"), charges=True)])
    for text in ("99", "199", "1000", "abc", ""):
        name = f"the status {text!r}"
        yield Http2Fault(name, [Reply((headers(text), data(b"{}")), charges=True)])
    yield Http2Fault("no status", [Reply((trailers(JSON),), charges=True)])


def _reset_streams() -> Iterator[Http2Fault]:
    for code in (ErrorCodes.REFUSED_STREAM, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR):
        reset = rst_stream(code)
        name = f"RST_STREAM {code.name}"
        for read in ("head", "half", "all"):
            yield Http2Fault(f"{name} after {READS[read]}", [Reply((reset,), read)])
        yield Http2Fault(f"{name} after a charge", [Reply((reset,), charges=True)])
        for count, part in enumerate(PARTS, 1):
            frames = (headers(201), data(BODY[:9], ends=False), data(BODY[9:], ends=False))
            cut = Reply((*frames[:count], reset), charges=True)
            yield Http2Fault(f"{name} after {part}", [cut])
        yield Http2Fault(f"{name} after the response", [Reply((*ACCEPTED, reset), charges=True)])


def _ended_connections() -> Iterator[Http2Fault]:
    for code in (ErrorCodes.NO_ERROR, ErrorCodes.ENHANCE_YOUR_CALM):
        name = f"GOAWAY {code.name}"
        for read in ("preface", "head", "half", "all"):
            refused = Reply((goaway(0, code),), read, then="closes")
            yield Http2Fault(f"{name} after {READS[read]}", [refused])
        gone = goaway(1, code)
        yield Http2Fault(f"{name} after a charge", [Reply((gone,), charges=True, then="closes")])
        yield Http2Fault(f"{name} before the response", [Reply((gone, *ACCEPTED), charges=True)])
        head, body = ACCEPTED
        yield Http2Fault(f"{name} in the response", [Reply((head, gone, body), charges=True)])
        yield Http2Fault(f"{name} after the response", [Reply((*ACCEPTED, gone), charges=True)])
        # httpcore itself sends a request again if GOAWAY says that it was not processed.
        unprocessed = Reply((gone,), then="closes")
        dropped = Reply(charges=True, then="closes")
        for outcome, last in (("accepted", CREATED), ("dropped", dropped)):
            yield Http2Fault(f"429, {name} for the retry, {outcome}", [BUSY, unprocessed, last])
        draining = Reply((*BUSY.frames, gone), then="closes")
        yield Http2Fault(f"429 and {name}, accepted", [draining, CREATED])


def _broken_connections() -> Iterator[Http2Fault]:
    for then in ("closes", "resets"):
        for read in ("nothing", "preface", "head", "half", "all"):
            yield Http2Fault(f"{then} after {READS[read]}", [Reply((), read, then=then)])
        yield Http2Fault(f"{then} before the response", [Reply(charges=True, then=then)])
        frames = (headers(201), data(BODY[:9], ends=False), data(BODY[9:], ends=False))
        for count, part in enumerate(PARTS, 1):
            cut = Reply(frames[:count], charges=True, then=then)
            yield Http2Fault(f"{then} after {part}", [cut])
        yield Http2Fault(f"{then} after the response", [Reply(ACCEPTED, charges=True, then=then)])
    yield Http2Fault("nothing read", [Reply((), "nothing", then="stalls")])
    yield Http2Fault("no response", [Reply(charges=True, then="stalls")])
    unfinished = (headers(201), data(BODY, ends=False))
    yield Http2Fault("no END_STREAM", [Reply(unfinished, charges=True, then="stalls")])
    only_headers = Reply((headers(201),), charges=True, then="stalls")
    yield Http2Fault("the headers, then nothing", [only_headers])
    pieces = (data(b" ", ends=False) for _ in range(400))
    trickle = Reply((headers(201), data(BODY, ends=False), *pieces), charges=True, trickles=True)
    yield Http2Fault("a byte at a time", [trickle])


def _odd_successes() -> Iterator[Http2Fault]:
    for name, body, *more in (
        ("an empty body", b""),
        ("HTML", b"<html>gateway</html>"),
        ("half the JSON", b'{"taskId": "t-'),
        ("a number as the id", {"taskId": 5}),
        ("a wrapped id", {"data": ID}),
        ("an empty id", {"taskId": ""}),
        ("gzip", zlib.compress(BODY, wbits=31), ("content-encoding", "gzip")),
        ("invalid gzip", b"no gzip", ("content-encoding", "gzip")),
        ("a length too large", ID, ("content-length", "99")),
        ("a length too small", ID, ("content-length", "1")),
        ("a header of 2 KB", ID, ("x-pad", "y" * 2_000)),
        ("a header with a line break", ID, ("x-pad", "a\r\nb: c")),
        ("a header name in upper case", ID, ("X-PAD", "a")),
        ("HTTP/1.1's headers", ID, ("connection", "close"), ("transfer-encoding", "chunked")),
    ):
        reply = Reply(response(201, body, *more), charges=True)
        yield Http2Fault(f"201 with {name}", [reply])
    long = response(201, b" " * 9_000_000)
    yield Http2Fault("201 with 9 MB", [Reply(long, charges=True, then="stalls")])
    for status in (200, 202, 299):
        yield Http2Fault(f"{status} with an id", [Reply(response(status, ID), charges=True)])
    yield Http2Fault("204", [Reply((headers(204, ends=True),), charges=True)])


def _odd_frames() -> Iterator[Http2Fault]:
    head, body = ACCEPTED
    settings = raw(SettingsFrame(settings={4: 100}).serialize())
    elsewhere = raw(DataFrame(99, data=BODY).serialize())
    pushed = raw(PushPromiseFrame(1, promised_stream_id=2, flags=["END_HEADERS"]).serialize())
    parts = [data(BODY[at : at + 1], ends=at == len(BODY) - 1) for at in range(len(BODY))]
    for name, frames in (
        ("an interim response", (headers(103), *ACCEPTED)),
        ("two responses", (*ACCEPTED, *ACCEPTED[:1])),
        ("trailers", (head, data(BODY, ends=False), trailers(("x-end", "1")))),
        ("padding", (head, data(BODY, padding=100))),
        ("many parts", (head, *parts)),
        ("PING", (PING, head, PING, body)),
        ("SETTINGS", (settings, head, settings, body)),
        ("an unknown frame", (raw(ExtensionFrame(0xBA, 1).serialize()), *ACCEPTED)),
        ("the body first", (raw(DataFrame(1, data=BODY).serialize()), head)),
        ("a response to another request", (elsewhere, *ACCEPTED)),
        ("a pushed response", (pushed, *ACCEPTED)),
        ("invalid HPACK", (raw(HeadersFrame(1, b"\xff" * 9, flags=["END_HEADERS"]).serialize()),)),
        ("CONTINUATION alone", (raw(ContinuationFrame(1, b"x").serialize()),)),
        (
            "too large a window",
            (raw(WindowUpdateFrame(0, window_increment=2**31 - 1).serialize()),),
        ),
        ("a frame too long", (raw(b"\x7f\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 99),)),
        ("HTTP/1.1", (raw(b"HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n"),)),
        ("zeros", (raw(bytes(99)),)),
    ):
        reply = Reply(frames, charges=True, then="closes")
        yield Http2Fault(f"accepted, with {name}", [reply])


HTTP2_CREATED = Http2Fault("accepted", [CREATED])
HTTP2_FAULTS: Sequence[Http2Fault] = (
    HTTP2_CREATED,
    *_refused(),
    *_failures(),
    *_reset_streams(),
    *_ended_connections(),
    *_broken_connections(),
    *_odd_successes(),
    *_odd_frames(),
)

_MOMENTS: Mapping[str, type[Event]] = {
    "preface": RemoteSettingsChanged,
    "head": RequestReceived,
    "half": DataReceived,
    "all": StreamEnded,
}


class Http2FaultServer(LoopbackServer):
    """Answers requests with the replies of a fault."""

    def __init__(self, fault: Http2Fault, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._replies = list(fault.replies)

    def handle(self, connection: socket.socket) -> None:
        config = H2Configuration(
            client_side=False,
            header_encoding=None,
            normalize_outbound_headers=False,
            validate_outbound_headers=False,
        )
        state = H2Connection(config)
        state.initiate_connection()
        with contextlib.suppress(ProtocolError):
            while self._reply(connection, state, self._next()):
                pass

    def _next(self) -> Reply:
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def _reply(self, connection: socket.socket, state: H2Connection, reply: Reply) -> bool:
        """Reply to the next request; return whether the connection stays open."""
        stream = self._read(connection, state, reply.read)
        if stream is None:
            return False
        self.charged += reply.charges
        if reply.trickles:
            for frame in reply.frames:
                connection.sendall(frame(state, stream))
                time.sleep(0.005)
        else:
            connection.sendall(b"".join(frame(state, stream) for frame in reply.frames))
        if reply.then == "closes":
            # What the client still sends must not turn this into a reset.
            connection.shutdown(socket.SHUT_WR)
        if reply.then in ("closes", "stalls"):
            stall(connection)
        if reply.then == "resets":
            close_with_reset(connection)
        return reply.then == "keeps"

    def _read(self, connection: socket.socket, state: H2Connection, until: str) -> int | None:
        """Read a part of the next request; return its stream, or None if there is none."""
        stream = 1
        if until == "nothing":
            return stream
        is_read = False
        while not is_read:
            connection.sendall(state.data_to_send())
            if not (received := connection.recv(65536)):
                return None
            for event in state.receive_data(received):
                if isinstance(event, RequestReceived):
                    stream = event.stream_id
                    fields = dict(event.headers)
                    self.requests.append(fields[b":method"] + b" " + fields[b":path"])
                if isinstance(event, DataReceived):
                    state.acknowledge_received_data(event.flow_controlled_length, stream)
                is_read |= isinstance(event, _MOMENTS[until] | StreamEnded)
        connection.sendall(state.data_to_send())
        return stream
