"""Sends requests as they are, byte for byte, and reports what came back."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from attrs import field, frozen

from ._case import Request

MAX_ANSWER = 16 * 1024 * 1024
MAX_PAUSE = 30.0
TRIES_WHEN_LIMITED = 4

# Many servers write an answer's head and body apart, and their system holds the body back until
# the head is acknowledged, 40 ms later. Only Linux lets a client hurry.
_ACKNOWLEDGE_AT_ONCE = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)


@frozen
class Answer:
    """What came back."""

    status: int
    """0 where no answer came."""
    headers: Mapping[str, str] = field(factory=dict)
    """By their names in lower case."""
    body: bytes = b""
    fault: str = ""
    """Why no answer came."""


class Server:
    """The server under test."""

    def __init__(self, base_url: str, fill: Mapping[str, str], *, timeout: float = 15.0) -> None:
        parts = urlsplit(base_url)
        self.base_url = base_url.rstrip("/")
        self._fill = dict(fill)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout
        self._mine = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def send(self, request: Request, *, task: str = "unknown") -> Answer:
        """Return the answer to one request; wait and try again where the server asks for it."""
        answer = self._send(request, task)
        for _ in range(TRIES_WHEN_LIMITED):
            if answer.status != 429:
                break
            time.sleep(_pause(answer))
            answer = self._send(request, task)
        return answer

    def serves_several(self, requests: Sequence[Request]) -> bool:
        """Say whether the server answers on a second connection while one is open."""
        second = Server(self.base_url, self._fill, timeout=2.0)
        try:
            return all(second.send(request).status for request in requests)
        finally:
            second.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._mine = threading.local()

    def _send(self, request: Request, task: str) -> Answer:
        fill = {**self._fill, "{task}": task}
        target = self._prefix + _filled(request.target, fill)
        headers = {name: _filled(value, fill) for name, value in request.headers}
        is_kept = self._connection().sock is not None
        answer = self._exchange(request, target, headers)
        # A server may close an idle connection at any time: a kept one proves nothing.
        if is_kept and answer.fault.startswith("the connection was closed"):
            answer = self._exchange(request, target, headers)
        return answer

    def _exchange(self, request: Request, target: str, headers: Mapping[str, str]) -> Answer:
        connection = self._connection()
        try:
            connection.request(request.method, target, request.body, dict(headers))
            connection.sock.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE_AT_ONCE, 1)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER)
            is_whole = response.isclosed()
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            return Answer(0, fault=_fault(error, self._timeout))
        if not is_whole or "close" in headers.get("Connection", ""):
            self._drop()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, body)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
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
            self._mine.connection = connection
            self._all.append(connection)
        return connection

    def _drop(self) -> None:
        with contextlib.suppress(ValueError):
            self._all.remove(self._mine.connection)
        self._mine.connection.close()
        self._mine.connection = None


def _filled(text: str, fill: Mapping[str, str]) -> str:
    for placeholder, value in fill.items():
        text = text.replace(placeholder, value)
    return text


def _fault(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer came within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    return f"no HTTP answer came: {type(error).__name__}: {error}"


def _pause(answer: Answer) -> float:
    with contextlib.suppress(ValueError):
        return min(max(float(answer.headers.get("retry-after", "1")), 0.05), MAX_PAUSE)
    return 1.0
