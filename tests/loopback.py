"""What servers and proxies on this machine have in common: a port, a thread, and TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from functools import cache
from typing import Self

import trustme

AUTHORITY = trustme.CA()
"""Signs the certificates of the servers."""


@cache
def server_tls(*protocols: str) -> ssl.SSLContext:
    """Return the TLS settings of a server that offers some protocols, such as `h2`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(protocols)
    context.num_tickets = 0  # sent at no certain moment
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


class LoopbackServer:
    """Serves one connection after another, in a thread, and counts what it charges."""

    proxy: str | None = None
    """The URL of the proxy that clients should use."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[bytes] = []
        self.charged = 0

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
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

    def handle(self, connection: socket.socket) -> None:
        """Serve a connection. An OSError ends it, because the client may disconnect first."""
        raise NotImplementedError

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            send_at_once(connection)
            connection.settimeout(5)  # a client that keeps a connection open must not hang a test
            with connection, contextlib.suppress(OSError):
                if self._tls is None:
                    self.handle(connection)
                else:
                    with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                        self.handle(encrypted)


def send_at_once(connection: socket.socket) -> None:
    """Let a connection not wait for the peer, which costs 40 ms, before it sends little."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stall(connection: socket.socket) -> None:
    """Stay silent until the client disconnects."""
    connection.settimeout(2)
    while connection.recv(65536):
        pass


def close_with_reset(connection: socket.socket) -> None:
    """Let a connection be reset when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
