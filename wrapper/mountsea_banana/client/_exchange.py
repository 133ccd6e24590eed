"""One attempt to send a request: what is known about it at any moment, from any thread.

Whether a submission may have been charged depends on whether its request has left. That is observed
where it happens, never inferred from the class of an exception: httpcore, which httpx's own
transports use, reports every step to the `trace` extension of a request. A transport that reports
nothing may have sent the request at any time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
from attrs import field, frozen

from ._encodings import GZIP, Decoder


class DeadlinePassed(Exception):
    """The exchange did not end in time."""


class TooLarge(Exception):
    """The response body is longer than the limit."""


class UnexpectedEncoding(Exception):
    """The response body is compressed, although the request asked that it is not."""


class Abandoned(BaseException):
    """Raised inside an abandoned exchange to keep it from sending.

    Not an Exception, so that no transport takes it for a failure and tries another way.
    """


# The steps that httpcore reports up to the sending of the request, a proxy's CONNECT included.
_BEFORE_SENDING = (
    "connect_tcp",
    "connect_unix_socket",
    "receive_response_headers",
    "retry",
    "send_connection_init",
    "send_request_body",
    "send_request_headers",
    "setup_socks5_connection",
    "start_tls",
)
# Where an abandoned exchange can stop without leaving an open socket behind.
_STOPS = (
    "connect_tcp.failed",
    "connect_tcp.started",
    "retry.started",
    "send_request_headers.started",
)


_VERBATIM = Decoder()  # it has no state, so all exchanges can use it

# A task id that comes too late to be returned is looked for in this many bytes.
_LATE_BYTES = 10_000


@frozen
class RawResponse:
    """A response, as much of it as was received."""

    status_code: int
    headers: httpx.Headers
    body: bytes = field(repr=False)
    fault: Exception | None
    """Why the body is incomplete: a broken connection, the deadline, or the size limit."""


@frozen
class Failure:
    """An exchange without a response."""

    error: Exception
    may_have_left: bool
    """Whether the server may have received the request."""
    base_url: str | None = None
    """The server; None if the request went elsewhere, or nowhere."""


Outcome = RawResponse | Failure


class Exchange:
    """The state of one attempt. Its owner may abandon it while another thread carries it out."""

    def __init__(
        self,
        *,
        max_bytes: int,
        decodes: bool = True,
        on_late_response: Callable[[RawResponse], None] | None = None,
    ) -> None:
        """Prepare an exchange that keeps at most `max_bytes` of the response body.

        An exchange that `decodes` decodes a Content-Encoding; any other rejects it.
        `on_late_response` is called with what an abandoned exchange receives after all.
        """
        self._max_bytes = max_bytes
        self._decodes = decodes
        self._on_late_response = on_late_response
        self._lock = threading.Lock()
        self._is_observable = False
        self._is_handed_over = False
        self._has_started = False
        self._has_left = False
        self._is_connecting = False
        self._is_at_socks_proxy = False
        self._has_ended = False
        self._is_abandoned = False
        self._reported: list[BaseException] = []
        self._opened_stream: Any = None
        self._network_stream: Any = None
        self._status_code: int | None = None
        self._headers: httpx.Headers
        self._decoder = _VERBATIM
        self._body = bytearray()
        self._error: BaseException | None = None

    @property
    def may_have_left(self) -> bool:
        """Whether the server may have received the request.

        It may not if the transport is httpx's own, and httpcore, before it sent the request,
        reported the error that the exchange ended with, or raised it or was interrupted in the
        middle of connecting.
        """
        if self._is_handed_over and not (self._has_ended or self._is_abandoned):
            return True  # an interrupt kept it from being abandoned
        if self._has_left or not self._has_started:
            return self._has_left
        if not self._is_observable:
            return True
        is_given_up = self._is_abandoned or isinstance(self._error, DeadlinePassed)
        if isinstance(self._error, Exception) and not is_given_up:
            causes = list(_chain(self._error))
            is_reported = any(each is error for each in self._reported for error in causes)
            is_raised = self._is_connecting and any(map(is_of_httpcore, causes))
            return not (is_reported or is_raised)
        return not self._is_connecting

    @property
    def has_response(self) -> bool:
        """Whether the status and the headers of the response were received."""
        return self._status_code is not None

    @property
    def is_accepted(self) -> bool:
        """Whether the status of the response is a success."""
        return self._status_code is not None and 200 <= self._status_code < 300

    @property
    def body(self) -> bytes:
        """What was received of the response body."""
        return bytes(self._body[: self._max_bytes])

    @property
    def outcome(self) -> Outcome:
        """What came of the exchange, at its end or so far."""
        with self._lock:
            error = self._error if isinstance(self._error, Exception) else None
            if self._status_code is None:
                return Failure(error or DeadlinePassed(), self.may_have_left)
            return RawResponse(self._status_code, self._headers, self.body, error)

    def hand_over(self) -> None:
        """Note that from now on, another thread may carry the exchange out."""
        self._is_handed_over = True

    def check(self, *, is_observable: bool) -> None:
        """Note that the transport is another one than was thought, unless it `is_observable`."""
        self._is_observable = self._is_observable and is_observable

    def start(self, *, is_observable: bool) -> None:
        """Note that the request is handed to a transport. Raises Abandoned if it must not be.

        Of a transport that `is_observable`, it is known that all it does is reported to `trace`.
        """
        with self._lock:
            if self._is_abandoned:
                raise Abandoned
            self._is_observable = is_observable
            self._has_started = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take a report of httpcore, which calls this as the request's `trace` extension."""
        step, _, moment = event.rpartition(".")
        step = step.rpartition(".")[2]
        with self._lock:
            if step == "response_closed":
                self._network_stream = None  # other requests may use the connection
            if step not in _BEFORE_SENDING:
                return
            is_over = self._is_abandoned or self._has_ended
            if is_over and f"{step}.{moment}" in _STOPS:  # also if httpcore sends it again
                raise Abandoned
            if step == "setup_socks5_connection":
                # The proxy may never respond, and httpcore waits for it without a timeout.
                self._is_at_socks_proxy = moment == "started"
            if moment == "failed":
                error = info.get("exception")
                if isinstance(error, Exception):  # not a cancellation
                    self._reported.append(error)
                    self._is_connecting = False
                return
            if step in ("connect_tcp", "start_tls"):
                self._opened_stream = info.get("return_value")  # none before it is complete
            if (step, moment) == ("send_request_headers", "started"):
                # A proxy's CONNECT is reported like the request itself.
                method = getattr(info.get("request"), "method", None)
                self._has_left = self._has_left or method != b"CONNECT"
                # Other requests share an HTTP/2 connection.
                is_shared = event.startswith("http2.")
                self._network_stream = None if is_shared else self._opened_stream
            self._is_connecting = not self._has_left

    async def trace_async(self, event: str, info: Mapping[str, Any]) -> None:
        """The same as `trace`, for an asynchronous transport."""
        self.trace(event, info)

    def report(self, error: Exception) -> None:
        """Note an error that kept the request from being sent and that httpcore does not report."""
        with self._lock:
            self._reported.append(error)

    def receive(self, response: httpx.Response) -> None:
        """Take the status and the headers of the response."""
        with self._lock:
            self._has_left = True
            self._status_code = response.status_code
            self._headers = response.headers
            # Others may use an HTTP/2 connection, or that of a response that a hook has read.
            is_ours = response.http_version.startswith("HTTP/1") and not response.is_closed
            self._network_stream = response.extensions.get("network_stream") if is_ours else None
        encoding = response.headers.get("content-encoding", "")
        if not self._decodes and encoding not in ("", "identity"):
            raise UnexpectedEncoding(f"the response has the Content-Encoding {encoding!r:.100}")
        if response.is_stream_consumed:  # by a hook: its content is decoded
            self.add(response.content)
        elif encoding not in ("", "identity"):
            self._decoder = Decoder(encoding)

    def add(self, chunk: bytes) -> None:
        """Take a part of the response body. Raises TooLarge beyond the limit."""
        if self._is_abandoned and (self._on_late_response is None or len(self._body) > _LATE_BYTES):
            raise Abandoned
        is_start = self._decodes and self._decoder is _VERBATIM and not self._body
        if is_start and chunk.startswith(GZIP):  # without a Content-Encoding that says so
            self._decoder = Decoder("gzip")
        for piece in self._decoder.feed(chunk):
            self._body += piece
            if len(self._body) > self._max_bytes:
                raise TooLarge(f"the response is longer than {self._max_bytes} bytes")

    def end(self, error: BaseException | None) -> None:
        """Note the end of the exchange, and its error if there was one."""
        with self._lock:
            self._has_ended = True
            if not self._is_abandoned:
                self._error = error
        if self._is_abandoned and self._on_late_response:
            outcome = self.outcome
            if isinstance(outcome, RawResponse):
                self._on_late_response(outcome)

    def abandon(self, error: BaseException) -> None:
        """Give the exchange up: nothing is sent any more, neither for the first time nor again."""
        with self._lock:
            if self._has_ended:
                return
            self._is_abandoned = True
            self._error = error
            stream = self._opened_stream if self._is_at_socks_proxy else self._network_stream
            if stream is not None:
                _shut_down(stream)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def is_of_httpcore(error: BaseException | None) -> bool:
    """Return whether an exception is one of httpcore's own."""
    return type(error).__module__.startswith("httpcore")


def _shut_down(stream: Any) -> None:
    """Wake a thread that is blocked on a connection; the pool then discards the connection."""
    with contextlib.suppress(Exception):  # closed already, or no stream of httpcore
        # The method of SSLSocket would take the TLS state from the blocked thread.
        socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)
