"""Sends requests byte for byte, without validating or correcting them."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from ._case import Request

UNREAD_STATUSES = frozenset({401, 403, 404, 405, 411, 413, 415, 501})
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
MAX_RETRY_DELAY = 30.0
MAX_RATE_LIMIT_RETRIES = 4
# A shorter key is no secret, and may be part of any word.
MIN_REDACTED_LENGTH = 6

# Many servers write the head and the body of a response separately. Their operating system then
# holds the body back until the client acknowledges the head, up to 40 ms later. Only Linux lets a
# client acknowledge immediately.
_ACKNOWLEDGE_IMMEDIATELY = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)


@frozen
class Response:
    """The response to a request, or the reason why none was received."""

    status: int
    """0 if no response was received."""
    headers: Mapping[str, str] = field(factory=dict)
    """Keyed by lower-case name."""
    body: bytes = b""
    fault: str = ""
    """Why no response was received, or what is wrong with its body."""


class Server:
    """The server under test."""

    def __init__(
        self, base_url: str, placeholders: Mapping[str, str], *, timeout: float = 15.0
    ) -> None:
        parts = urlsplit(base_url)
        self.base_url = base_url.rstrip("/")
        self._placeholders = dict(placeholders)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def send(self, request: Request, *, task: str = "unknown") -> Response:
        """Return the response to a request. Retries it while the server responds with 429."""
        response = self._send(request, task)
        for _ in range(MAX_RATE_LIMIT_RETRIES):
            if response.status != 429:
                break
            time.sleep(_retry_delay(response))
            response = self._send(request, task)
        return response

    def send_both(self, first: Request, second: Request) -> Response:
        """Send two requests on one new connection; return the response to the second."""
        self._drop()
        response = self._send(first, "unknown", keeps=True)
        if response.status and response.fault:  # its rest would be read as the next response
            return Response(0, fault=f"the rest of the response to {first.method}")
        return self._send(second, "unknown")

    def redact(self, text: str) -> str:
        """Return what the server sent without the keys, in case it echoes them."""
        for placeholder, key in self._placeholders.items():
            if len(key) >= MIN_REDACTED_LENGTH:
                text = text.replace(key, placeholder)
        return text

    def redacted(self, response: Response) -> Response:
        """Return a response without the keys."""
        return Response(
            response.status,
            {name: self.redact(value) for name, value in response.headers.items()},
            # Keys are ASCII, and Latin-1 has a character for each byte.
            self.redact(response.body.decode("latin-1")).encode("latin-1"),
            self.redact(response.fault),
        )

    def accepts_parallel_connections(self, requests: Sequence[Request]) -> bool:
        """Return whether the server responds on a second connection while another one is open."""
        second = Server(self.base_url, self._placeholders, timeout=2.0)
        try:
            return all(second.send(request).status for request in requests)
        finally:
            second.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()

    def _send(self, request: Request, task: str, *, keeps: bool = False) -> Response:
        target = self._prefix + _substitute(request.target_of(task), self._placeholders)
        headers = {name: _substitute(value, self._placeholders) for name, value in request.headers}
        is_reused = self._connection().sock is not None
        response = self._exchange(request, target, headers, keeps=keeps)
        # A server may close an idle connection at any time, so retry on a new one.
        if is_reused and response.fault.startswith("the connection was closed"):
            response = self._exchange(request, target, headers)
        return response

    def _exchange(
        self, request: Request, target: str, headers: Mapping[str, str], *, keeps: bool = False
    ) -> Response:
        connection = self._connection()
        try:
            is_chunked = "Transfer-Encoding" in headers
            body = iter([request.body or b""]) if is_chunked else request.body
            connection.request(
                request.method, target, body, dict(headers), encode_chunked=is_chunked
            )
            connection.sock.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE_IMMEDIATELY, 1)
            response = connection.getresponse()
            if request.method == "HEAD" and _has_body(connection, response):
                self._drop()
                return Response(response.status, fault="a body to a HEAD request")
            content = response.read(MAX_RESPONSE_BYTES)
            is_complete = response.isclosed()
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            return Response(0, fault=_fault(error, self._timeout))
        # A server may ignore a chunked body, or refuse a request without reading its body, which
        # then precedes the next request on the connection. Another check is for that.
        is_unread = is_chunked or (request.body is not None and response.status in UNREAD_STATUSES)
        # The body of a response to HEAD, if there is one, precedes the next response.
        may_be_dirty = (is_unread or request.method == "HEAD") and not keeps
        if not is_complete or may_be_dirty or "close" in headers.get("Connection", ""):
            self._drop()
        response_headers = {name.lower(): value for name, value in response.getheaders()}
        return _decompressed(Response(response.status, response_headers, content))

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._secure:
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout, context=context
                )
            else:
                connection = http.client.HTTPConnection(
                    self._host, self._port, timeout=self._timeout
                )
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def _drop(self) -> None:
        connection = self._connection()
        with contextlib.suppress(ValueError):
            self._connections.remove(connection)
        connection.close()
        self._local.connection = None


def _has_body(connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> bool:
    """Return whether some of the body of a response to HEAD has arrived already."""
    if connection.sock is None:  # the server closes the connection
        return False
    timeout = connection.sock.gettimeout()
    connection.sock.setblocking(False)
    try:
        return bool(response.fp.peek(1))
    finally:
        connection.sock.settimeout(timeout)


def _decompressed(response: Response) -> Response:
    """Return the response with its body decompressed, or with a fault if that is impossible."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if not response.body or encoding in ("", "identity"):
        return response
    try:
        # 32 more than the window size: zlib detects gzip and deflate.
        return evolve(response, body=zlib.decompress(response.body, zlib.MAX_WBITS + 32))
    except zlib.error:
        return evolve(response, fault=f"a body that is not {encoding} as its headers say")


def _substitute(text: str, placeholders: Mapping[str, str]) -> str:
    for placeholder, value in placeholders.items():
        text = text.replace(placeholder, value)
    return text


def _fault(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no response within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected):
        return "the connection was closed without a response"
    return f"invalid HTTP response: {type(error).__name__}: {error}"


def _retry_delay(response: Response) -> float:
    with contextlib.suppress(ValueError):
        return min(max(float(response.headers.get("retry-after", "1")), 0.05), MAX_RETRY_DELAY)
    return 1.0
