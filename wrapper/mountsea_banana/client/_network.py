"""Carrying out an exchange with httpx: the only module that talks to a network.

Failures are not raised but noted in the exchange; `_retries` decides about them.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import traceback
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import httpx

from mountsea_banana._shared.hosts import is_plain_loopback

from . import _threads
from ._errors import ConfigurationError
from ._exchange import DeadlinePassed, Exchange, Outcome, is_of_httpcore
from ._redaction import LogRedaction, Redactor
from ._steps import Download

MAX_REDIRECTS = 20

# httpcore asks every idle connection for its state at the start and at the end of each request, so
# only a few are kept.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=10)

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)


def make_client(kind: type[Client], url: str, **options: Any) -> Client:
    """Return a client for a server, with `options` of httpx.

    Raises ConfigurationError if the environment allows none. Plain http to this machine bypasses
    proxies: with a proxy, the key would leave the machine unencrypted.
    """
    try:
        return kind(trust_env=not is_plain_loopback(url), **options)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            f"the HTTP client could not be set up: {error}. Check the variables HTTP_PROXY, "
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
        ) from error


def send(
    client: httpx.Client,
    request: httpx.Request,
    exchange: Exchange,
    *,
    timeout: float,
    auth: httpx.Auth | None = None,
    redact: Redactor | None = None,
    follow_redirects: bool = False,
) -> None:
    """Send `request`, and note in `exchange` what comes of it.

    Returns within `timeout` seconds, whatever the server does, and raises only what must end the
    program or the test, such as KeyboardInterrupt or SystemExit. httpx's own timeouts apply to each
    read, so a response that trickles in can outlast them all, and nothing can interrupt a name
    look-up. A worker thread therefore sends the request, and the exchange is abandoned at the
    deadline.
    """
    request.extensions["trace"] = exchange.trace
    done = threading.Lock()
    done.acquire()
    raised: list[BaseException] = []

    def receive() -> None:
        _start(client, request, exchange)
        with LogRedaction(redact):
            try:
                response = client.send(request, auth=auth, stream=True, follow_redirects=False)
            except BaseException as error:
                _receive_from_hook(error, request, exchange)
                raise
            try:
                for _ in range(MAX_REDIRECTS if follow_redirects else 0):
                    if response.next_request is None:
                        break
                    response.close()  # unread: its body may have any size
                    response = client.send(response.next_request, stream=True)
                exchange.receive(response)
                if not response.is_stream_consumed:
                    for chunk in response.iter_raw():
                        exchange.add(chunk)
            finally:
                response.close()

    def carry_out() -> None:
        error: BaseException | None = None
        try:
            receive()
        except Exception as caught:
            exchange.check(is_observable=_is_observable(client, request))  # hooks may change it
            error = _settle(caught, request, exchange)
        except BaseException as caught:
            error = caught
            raised.append(caught)
        finally:
            exchange.end(error)
            done.release()

    context = contextvars.copy_context()
    try:
        exchange.hand_over()
        _threads.start(lambda: context.run(carry_out))
        if not done.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            exchange.abandon(DeadlinePassed("the deadline passed"))
        elif raised:
            raise raised[0]
    except _threads.CannotStart as error:
        exchange.end(error)
    except BaseException as interrupt:
        exchange.abandon(interrupt)
        raise


async def send_async(
    client: httpx.AsyncClient,
    request: httpx.Request,
    exchange: Exchange,
    *,
    timeout: float,
    auth: httpx.Auth | None = None,
    redact: Redactor | None = None,
    follow_redirects: bool = False,
) -> None:
    """The same as `send`, in an event loop."""
    import asyncio  # 10 ms that a synchronous program saves

    request.extensions["trace"] = exchange.trace_async
    error: BaseException | None = None
    limit = asyncio.timeout(timeout)
    try:
        with LogRedaction(redact):
            async with limit:
                _start(client, request, exchange)
                try:
                    response = await client.send(
                        request, auth=auth, stream=True, follow_redirects=False
                    )
                except BaseException as caught:
                    _receive_from_hook(caught, request, exchange)
                    raise
                try:
                    for _ in range(MAX_REDIRECTS if follow_redirects else 0):
                        if response.next_request is None:
                            break
                        await response.aclose()
                        response = await client.send(response.next_request, stream=True)
                    exchange.receive(response)
                    if not response.is_stream_consumed:
                        async for chunk in response.aiter_raw():
                            exchange.add(chunk)
                finally:
                    await response.aclose()
    except Exception as caught:
        if limit.expired() and isinstance(caught, TimeoutError):
            error = DeadlinePassed("the deadline passed")
        else:
            exchange.check(is_observable=_is_observable(client, request))  # hooks may change it
            error = _settle(caught, request, exchange)
    except BaseException as caught:
        error = caught
        raise
    finally:
        exchange.end(error)


def make_public_client(kind: type[Client], timeout: httpx.Timeout, **options: Any) -> Client:
    """Return a client for public URLs, with `options` of httpx: no credentials and no cookies.

    Raises ConfigurationError if the environment allows none.
    """
    hosts = ("127.0.0.1", "localhost", "[::1]")
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return make_client(
        kind,
        "https://",
        timeout=timeout,
        cookies=no_cookies,
        mounts={f"all://{host}": None for host in hosts},  # without the environment's proxies
        # No connection outlives its response: nobody may close an event loop's connections.
        limits=httpx.Limits(max_keepalive_connections=0),
        **options,
    )


def download(client: httpx.Client, step: Download) -> Outcome:
    """Request a public URL; return what came of it."""
    exchange = Exchange(max_bytes=step.max_bytes, decodes=False)
    try:
        request = client.build_request(step.method, step.url, headers=_identity(step))
        send(client, request, exchange, timeout=step.timeout, follow_redirects=True)
    except Exception as error:  # httpx raises many kinds for odd URLs
        exchange.end(error)
    return exchange.outcome


async def download_async(client: httpx.AsyncClient, step: Download) -> Outcome:
    """The same as `download`, in an event loop."""
    exchange = Exchange(max_bytes=step.max_bytes, decodes=False)
    try:
        request = client.build_request(step.method, step.url, headers=_identity(step))
        await send_async(client, request, exchange, timeout=step.timeout, follow_redirects=True)
    except Exception as error:
        exchange.end(error)
    return exchange.outcome


def _identity(step: Download) -> dict[str, str]:
    # Compressed, a few kilobytes can expand to gigabytes.
    return {**step.headers, "Accept-Encoding": "identity"}


# What an httpx client sends a request with. Whoever overrides one may send it in another way.
_SENDING = (
    "send",
    "_send_handling_auth",
    "_send_handling_redirects",
    "_send_single_request",
    "_transport_for_url",
)


def _is_observable(client: httpx.Client | httpx.AsyncClient, request: httpx.Request) -> bool:
    """Return whether only httpx's own code and httpcore's can send a request.

    Any other client, transport or connection pool may have ways of its own.
    """
    base = httpx.Client if isinstance(client, httpx.Client) else httpx.AsyncClient
    if any(
        name in vars(client) or getattr(type(client), name, None) is not getattr(base, name, None)
        for name in _SENDING
    ):
        return False
    # httpx has no public names for these; without them, no transport counts as observable.
    find = getattr(client, "_transport_for_url", None)
    transport = find(request.url) if find else None
    return (
        type(transport) in (httpx.HTTPTransport, httpx.AsyncHTTPTransport)
        and vars(transport).keys() <= {"_pool"}
        and type(vars(transport).get("_pool")).__module__.startswith("httpcore")
    )


def _start(
    client: httpx.Client | httpx.AsyncClient, request: httpx.Request, exchange: Exchange
) -> None:
    """Note that a client gets a request to send, unless another thread has closed the client."""
    if client.is_closed:
        raise RuntimeError("the client was closed")
    exchange.start(is_observable=_is_observable(client, request))


def _receive_from_hook(error: BaseException, request: httpx.Request, exchange: Exchange) -> None:
    """Note the response to a submission that a hook had read before it raised an error."""
    response = _response_before(error, request) if request.method == "POST" else None
    if response is not None and response.is_success:
        with contextlib.suppress(Exception):  # its content was not read, or cannot be decoded
            if response.content:
                exchange.receive(response)


def _response_before(error: BaseException, request: httpx.Request) -> httpx.Response | None:
    """Return the response that a hook got before it raised an error, if there is one.

    httpx gives it to nobody else, so it is taken from where the error passed through httpx.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == "httpx._client":
            response = frame.f_locals.get("response")
            if isinstance(response, httpx.Response) and _is_to(request, response):
                return response
    return None


def _is_to(request: httpx.Request, response: httpx.Response) -> bool:
    try:
        return response.request is request
    except RuntimeError:  # it is not set
        return False


def _settle(error: Exception, request: httpx.Request, exchange: Exchange) -> Exception | None:
    """Return the error that an exchange ends with; None if it only repeats what the response says.

    A response hook such as `raise_for_status` raises the response, which is noted.
    """
    if _is_of_the_pool(error, request):
        exchange.report(error)
    response = _response_of(error, request)
    if response is None or exchange.has_response:
        return error  # of the connection, about another server's response, or after ours
    try:
        exchange.receive(response)
    except Exception as unreadable:
        return unreadable
    return error if response.is_success else None


def _is_of_the_pool(error: Exception, request: httpx.Request) -> bool:
    """Return whether httpcore raised an error because no connection became free for a request.

    It reports no step before that. A hook can raise the same error, but about another request.
    """
    return (
        isinstance(error, httpx.PoolTimeout)
        and is_of_httpcore(error.__cause__)
        and getattr(error, "_request", None) is request  # `error.request` raises if there is none
    )


def _response_of(error: Exception, request: httpx.Request) -> httpx.Response | None:
    """Return the response to `request` that an error holds, if it does.

    A response that is made up would tell nothing: only one that httpx or a connection gave counts.
    """
    try:
        response = getattr(error, "response", None)
    except Exception:  # an attribute that raises
        return None
    if not isinstance(response, httpx.Response) or not _is_to(request, response):
        return None
    is_received = "network_stream" in response.extensions
    return response if is_received or response is _response_before(error, request) else None
