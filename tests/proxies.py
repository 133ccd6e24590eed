"""An HTTP proxy that fails in every way: it forwards requests, or tunnels them to a TLS server."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator, Sequence
from typing import TypeVar

import httpx
from attrs import frozen

from tests.loopback import LoopbackServer, close_with_reset, send_at_once, stall

Server = TypeVar("Server", bound=LoopbackServer)

SILENCE = 0.05
"""A client that sends nothing for this many seconds waits for the server."""


@frozen
class ProxyFault:
    """What a proxy does with one connection."""

    name: str
    reply: bytes | None = None
    """What it sends instead of connecting to the server."""
    reads: bool = True
    """Whether it reads a request first."""
    from_client: int | None = None
    """How many bytes it then relays from the client before it gives up; None for all."""
    from_server: int | None = None
    """How many bytes it relays from the server before it gives up; None for all."""
    last: bytes = b""
    """What it sends when it gives up."""
    then: str = "closes"
    """What it does with the connection at last: `closes`, `resets` or `stalls`."""

    @property
    def is_racy(self) -> bool:
        """Whether it depends on the moment that a reset arrives what the client sees."""
        return not self.reads

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than a few milliseconds."""
        return self.then == "stalls"


WORKING = ProxyFault("works")


def _reply(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Length: 0", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _refusals() -> Iterator[ProxyFault]:
    for status in (302, 400, 403, 407, 429, 500, 502, 503, 504):
        yield ProxyFault(f"the proxy replies {status}", _reply(status))
    for status in (429, 503):
        reply = _reply(status, "Retry-After: 1")
        yield ProxyFault(f"the proxy replies {status}, Retry-After: 1", reply)
    for then in ("closes", "resets"):
        yield ProxyFault(f"the proxy {then} at once", reads=False, then=then)
        yield ProxyFault(f"the proxy {then} after the request", b"", then=then)
        yield ProxyFault(f"the proxy {then} in its reply", b"HTTP/1.1 20", then=then)
    yield ProxyFault("the proxy replies nothing", b"", then="stalls")
    yield ProxyFault("the proxy is not HTTP", b"220 mail.example.com ESMTP\r\n")


def _tunnel_faults() -> Iterator[ProxyFault]:
    connected = b"HTTP/1.1 200 Connection established\r\n\r\n"
    yield ProxyFault("the tunnel leads nowhere", connected, then="stalls")
    yield ProxyFault("the tunnel is not TLS", connected + b"220 mail.example.com ESMTP\r\n")
    # Somewhere among these numbers the handshake, the request and the response begin and end.
    for then in ("closes", "resets"):
        for count in range(0, 2600, 100):
            name = f"the tunnel {then} after {count:,} bytes of the"
            yield ProxyFault(f"{name} client", from_client=count, then=then)
            yield ProxyFault(f"{name} server", from_server=count, then=then)
    yield ProxyFault("the tunnel stalls in the handshake", from_server=300, then="stalls")


def _forwarding_faults() -> Iterator[ProxyFault]:
    for then in ("closes", "resets"):
        for count in (0, 50, 200, 300, 330):
            name = f"the proxy {then} after {count} bytes of the client"
            yield ProxyFault(name, from_client=count, then=then)
        for count in (10, 50, 100):
            name = f"the proxy {then} after {count} bytes of the server"
            yield ProxyFault(name, from_server=count, then=then)
    yield ProxyFault("the proxy stalls after the request", from_server=1, then="stalls")
    for status in (500, 502, 504):
        reply = _reply(status)
        yield ProxyFault(
            f"the proxy replies {status} after it forwarded", from_server=0, last=reply
        )


TUNNEL_FAULTS: Sequence[ProxyFault] = (WORKING, *_refusals(), *_tunnel_faults())
FORWARDING_FAULTS: Sequence[ProxyFault] = (WORKING, *_refusals(), *_forwarding_faults())


class Proxy(LoopbackServer):
    """Forwards each connection to the server that its request names, as far as its fault allows."""

    def __init__(self, fault: ProxyFault) -> None:
        super().__init__()
        self._fault = fault

    def handle(self, connection: socket.socket) -> None:
        fault = self._fault
        if fault.reads:
            self._handle_request(connection)
        connection.sendall(fault.last)
        if fault.then == "stalls":
            stall(connection)
        if fault.then == "resets":
            close_with_reset(connection)

    def _handle_request(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := client.recv(65536)):
                return
            head += more
        if self._fault.reply is not None:
            client.sendall(self._fault.reply)
            return
        method, target, _ = head.split(b" ", 2)
        is_tunnel = method == b"CONNECT"
        url = httpx.URL(f"https://{target.decode()}" if is_tunnel else target.decode())
        with socket.create_connection((url.host, url.port or 443), timeout=5) as server:
            send_at_once(server)
            if is_tunnel:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._relay(b"", client, server)
            else:
                self._relay(head.replace(target, url.raw_path, 1), client, server)

    def _relay(self, start: bytes, client: socket.socket, server: socket.socket) -> None:
        """Relay `start` and what follows, until a side disconnects or has reached its limit."""
        limits = {client: self._fault.from_client, server: self._fault.from_server}
        peers = {client: server, server: client}
        received = {client: start} if start else {}
        while True:
            for source, content in received.items():
                limit = limits[source]
                peers[source].sendall(content[:limit])
                if not content:
                    return
                if limit is not None and limit <= len(content):
                    if source is server:
                        _relay_the_rest(client, server)
                    return
                limits[source] = None if limit is None else limit - len(content)
            readable, _, _ = select.select([client, server], [], [], 5)
            if not readable:
                return
            received = {source: source.recv(65536) for source in readable}


def _relay_the_rest(client: socket.socket, server: socket.socket) -> None:
    """Relay all that a client can send, so that a reset does not race its next bytes."""
    while select.select([client], [], [], SILENCE)[0] and (content := client.recv(65536)):
        server.sendall(content)


@contextlib.contextmanager
def behind_proxy(server: Server, fault: ProxyFault = WORKING) -> Iterator[Server]:
    """Run a server, and a proxy that clients reach it through."""
    with server, Proxy(fault) as proxy:
        server.proxy = proxy.url
        yield server
