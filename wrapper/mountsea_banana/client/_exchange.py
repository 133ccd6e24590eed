"""One HTTP exchange, synchronous or asynchronous: the only module that talks to a network.

Failures of the network are returned as values and never raised; `_retries` decides about them.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TypeVar

import httpx
from attrs import field, frozen

from mountsea_banana._shared.hosts import is_plain_loopback

from ._errors import ConfigurationError
from ._steps import Download

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)


def make_client(kind: type[Client], url: str, *, follow_redirects: bool = False) -> Client:
    """Return a client for a server. Raises ConfigurationError if the environment allows none.

    Plain http to this machine bypasses proxies: with a proxy, the key would leave the machine
    unencrypted.
    """
    try:
        return kind(trust_env=not is_plain_loopback(url), follow_redirects=follow_redirects)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            f"the HTTP client could not be set up: {error}. Check the variables HTTP_PROXY, "
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
        ) from error


class DeadlinePassed(Exception):
    """The exchange did not end in time."""


class TooLarge(Exception):
    """The response body is longer than the limit."""


@frozen
class RawResponse:
    """A response, as much of it as was received."""

    status_code: int
    headers: httpx.Headers
    body: bytes = field(repr=False)
    fault: Exception | None
    """Why the body is incomplete: a broken connection, the deadline, or the size limit."""


Outcome = RawResponse | Exception


class _Receiver:
    """Collects a response while it arrives, so that a fault does not lose what came before."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._response: httpx.Response | None = None
        self._body = bytearray()

    def start(self, response: httpx.Response) -> None:
        self._response = response

    def add(self, chunk: bytes) -> None:
        self._body += chunk
        if len(self._body) > self._limit:
            raise TooLarge(f"the response is longer than {self._limit} bytes")

    def outcome(self, fault: Exception | None) -> Outcome:
        """Return what was received of the response, or the fault if not even a status was."""
        response = self._response
        if response is None:
            return fault or DeadlinePassed()
        return RawResponse(
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
    timeout: float,
) -> Outcome:
    """Send `request`; return the response with at most `limit` bytes of its body, or an exception.

    Returns within `timeout` seconds, whatever the server does. httpx's own timeouts apply to each
    read, so a response that trickles in outlasts them all. The exchange therefore runs in a thread,
    which is abandoned at the deadline.
    """
    receiver = _Receiver(limit)
    outcomes: list[Outcome] = []

    def run() -> None:
        outcomes.append(_exchange(client, request, auth, receiver))

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="mountsea-banana", daemon=True)
    thread.start()
    thread.join(min(timeout, threading.TIMEOUT_MAX))
    return outcomes[0] if outcomes else receiver.outcome(DeadlinePassed("the deadline passed"))


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
    timeout: float,
) -> Outcome:
    """Do what `exchange` does, in an event loop."""
    import asyncio  # 10 ms that a synchronous program saves

    receiver = _Receiver(limit)
    try:
        async with asyncio.timeout(timeout):
            response = await client.send(request, auth=auth, stream=True)
            try:
                receiver.start(response)
                async for chunk in response.aiter_bytes():
                    receiver.add(chunk)
            finally:
                await response.aclose()
    except TimeoutError:
        return receiver.outcome(DeadlinePassed("the deadline passed"))
    except Exception as error:
        return receiver.outcome(error)
    finally:
        _forget_key(request)
    return receiver.outcome(None)


def download(step: Download) -> Outcome:
    """Request a public URL without credentials, following redirects."""
    try:
        with make_client(httpx.Client, step.url, follow_redirects=True) as client:
            request = client.build_request(step.method, step.url, headers=step.headers)
            return exchange(client, request, auth=None, limit=step.max_bytes, timeout=step.timeout)
    except Exception as error:  # httpx raises many kinds for odd URLs and environments
        return error


async def download_async(step: Download) -> Outcome:
    """Do what `download` does, in an event loop."""
    try:
        async with make_client(httpx.AsyncClient, step.url, follow_redirects=True) as client:
            request = client.build_request(step.method, step.url, headers=step.headers)
            return await exchange_async(
                client, request, auth=None, limit=step.max_bytes, timeout=step.timeout
            )
    except Exception as error:
        return error


def _forget_key(request: httpx.Request) -> None:
    # httpx's exceptions hold the request, and become the cause of ours.
    request.headers.pop("Authorization", None)
