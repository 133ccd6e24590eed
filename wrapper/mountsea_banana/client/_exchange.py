"""One HTTP exchange, synchronous or asynchronous: the only module that talks to a network.

What a network does wrong is returned as a value and never raised, for `_retry` to judge.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TypeVar

import httpx
from attrs import field, frozen

from mountsea_banana._shared.hosts import is_plain_loopback

from ._errors import ConfigurationError

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)


def make_client(kind: type[Client], url: str, *, follow_redirects: bool = False) -> Client:
    """Return a client for a server; raise ConfigurationError where the environment leaves none.

    What goes in the clear to this machine goes to no proxy: it would leave the machine with the
    key.
    """
    try:
        return kind(trust_env=not is_plain_loopback(url), follow_redirects=follow_redirects)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            f"no connection can be set up: {error}. Look at the variables HTTP_PROXY, HTTPS_PROXY, "
            "ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
        ) from error


class DeadlinePassed(Exception):
    """The time given to an exchange was up before it ended."""


class TooLarge(Exception):
    """The body was longer than the limit."""


@frozen
class Reply:
    """What came back, as far as it came."""

    status_code: int
    headers: httpx.Headers
    body: bytes = field(repr=False)
    fault: Exception | None
    """Why the body is not whole: the connection broke, time was up, or it passed the limit."""


Outcome = Reply | Exception


class _Receiver:
    """Collects a reply as it comes, so that what came before a fault is not lost."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._response: httpx.Response | None = None
        self._body = bytearray()

    def start(self, response: httpx.Response) -> None:
        self._response = response

    def add(self, chunk: bytes) -> None:
        self._body += chunk
        if len(self._body) > self._limit:
            raise TooLarge(f"the answer is longer than {self._limit} bytes")

    def outcome(self, fault: Exception | None) -> Outcome:
        """Return the reply as far as it came, or the fault where not even a status did."""
        response = self._response
        if response is None:
            return fault or DeadlinePassed()
        return Reply(
            status_code=response.status_code,
            headers=response.headers,
            body=bytes(self._body[: self._limit]),
            fault=fault,
        )


def exchange(
    client: httpx.Client,
    request: httpx.Request,
    *,
    auth: httpx.Auth | None,
    limit: int,
    seconds: float,
) -> Outcome:
    """Send `request`; return the reply with at most `limit` bytes of its body, or the exception.

    It returns within `seconds`, whatever the server does: httpx's own time-outs are per read, so
    that an answer which trickles outlives them all. The exchange therefore has a thread of its
    own, which is left behind when time is up.
    """
    receiver = _Receiver(limit)
    outcomes: list[Outcome] = []

    def run() -> None:
        outcomes.append(_exchange(client, request, auth, receiver))

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="mountsea-banana", daemon=True)
    thread.start()
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    return outcomes[0] if outcomes else receiver.outcome(DeadlinePassed("time was up"))


def _exchange(
    client: httpx.Client, request: httpx.Request, auth: httpx.Auth | None, receiver: _Receiver
) -> Outcome:
    try:
        response = client.send(request, auth=auth, stream=True)
        try:
            receiver.start(response)
            for chunk in response.iter_bytes():
                receiver.add(chunk)
        finally:
            response.close()
    except Exception as error:
        return receiver.outcome(error)
    finally:
        _forget_key(request)
    return receiver.outcome(None)


async def exchange_async(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    auth: httpx.Auth | None,
    limit: int,
    seconds: float,
) -> Outcome:
    """Do what `exchange` does, in an event loop."""
    import asyncio  # a synchronous program does without its 10 ms

    receiver = _Receiver(limit)
    try:
        async with asyncio.timeout(seconds):
            response = await client.send(request, auth=auth, stream=True)
            try:
                receiver.start(response)
                async for chunk in response.aiter_bytes():
                    receiver.add(chunk)
            finally:
                await response.aclose()
    except TimeoutError:
        return receiver.outcome(DeadlinePassed("time was up"))
    except Exception as error:
        return receiver.outcome(error)
    finally:
        _forget_key(request)
    return receiver.outcome(None)


def _forget_key(request: httpx.Request) -> None:
    # httpx's exceptions hold the request, and travel as the cause of ours.
    request.headers.pop("Authorization", None)
