"""A client's validated configuration: the part without I/O."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Generator
from typing import Any, NoReturn, TypeGuard

import httpx
from attrs import field, frozen

from mountsea_banana._shared.clock import Clock
from mountsea_banana._shared.hosts import allows_http, is_loopback
from mountsea_banana._shared.text import shown
from mountsea_banana._version import __version__

from ._errors import ConfigurationError, Hint
from ._exchange import Failure, Outcome
from ._polling import MAX_INTERVAL, MIN_INTERVAL
from ._redaction import Redactor
from ._requests import APIRequest
from ._responses import APIResponse, read_response

DEFAULT_BASE_URL = "https://api.mountsea.ai"
MAX_PHASE = 1e9
"""Seconds, or 30 years; more than about nine times that is too much for a socket."""
DEFAULT_TIMEOUT = httpx.Timeout(60.0, connect=10.0)


class BearerAuth(httpx.Auth):
    """Adds the key to a request as it is sent, so that no request object holds it before."""

    def __init__(self, key: str) -> None:
        self._key = key

    @property
    def fingerprint(self) -> str:
        """A hash of the key, from which nobody can tell the key."""
        return hashlib.sha256(f"mountsea-banana {self._key}".encode()).hexdigest()[:16]

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


@frozen
class Settings:
    """A client's validated configuration."""

    base_url: str
    timeout: httpx.Timeout
    max_retries: int
    auth: BearerAuth = field(repr=False)
    redact: Redactor = field(repr=False)
    clock: Clock
    _pid: int = field(factory=os.getpid)

    @property
    def account(self) -> str:
        """A hash of the key, which tells accounts apart."""
        return self.auth.fingerprint

    @property
    def exchange_timeout(self) -> float:
        """The seconds that one exchange may take: the sum of what its phases may take."""
        phases = (self.timeout.connect, self.timeout.pool, self.timeout.write, self.timeout.read)
        return sum(math.inf if phase is None else phase for phase in phases)

    def arguments(self, request: APIRequest) -> dict[str, Any]:
        """Return the arguments of `httpx.Client.build_request` for a request."""
        headers = {
            **request.arguments.get("headers", {}),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"mountsea-banana/{__version__}",
        }
        return {
            **request.arguments,
            "url": self.base_url + request.arguments["url"],
            "headers": headers,
            "timeout": self.timeout,
        }

    def read(self, outcome: Outcome) -> APIResponse | Failure:
        """Return the outcome of an exchange without the key."""
        if isinstance(outcome, Failure):
            error = self.redact.error(outcome.error)
            return Failure(error, outcome.may_have_left, self.base_url)
        return read_response(outcome, self.redact)

    def check_usable(self, *, is_closed: bool) -> None:
        """Raise ConfigurationError if the client can no longer be used."""
        if is_closed:
            raise ConfigurationError(
                "this client is closed: create a new one, and resume a task by its id"
            )
        if os.getpid() != self._pid:
            raise ConfigurationError(
                "this client was created before a fork: create one in each process"
            )


def settings(
    api_key: str | None,
    base_url: str | None,
    timeout: float | httpx.Timeout,
    max_retries: int,
    clock: Clock | None,
    *,
    allow_http: bool,
) -> Settings:
    """Validate a client's arguments, and read missing ones from the environment.

    Raises ConfigurationError.
    """
    key = check_api_key(os.environ.get("MOUNTSEA_API_KEY") if api_key is None else api_key)
    if base_url is None:
        base_url = os.environ.get("MOUNTSEA_BASE_URL") or DEFAULT_BASE_URL
    max_retries = check_count("max_retries", max_retries)
    if clock is not None and not isinstance(clock, Clock):
        raise ConfigurationError(f"clock must be a Clock, not {shown(clock)}")
    if not isinstance(allow_http, bool):
        raise ConfigurationError(f"allow_http must be True or False, not {shown(allow_http)}")
    return Settings(
        base_url=_check_base_url(base_url, allow_http=allow_http or allows_http()),
        timeout=_check_phases(timeout),
        max_retries=max_retries,
        auth=BearerAuth(key),
        redact=Redactor(key),
        clock=Clock() if clock is None else clock,
    )


def check_timeout(value: object) -> float:
    """Return a timeout in seconds. Raises ConfigurationError."""
    seconds = _seconds(value)
    if seconds is None or not seconds >= 0:
        raise ConfigurationError(f"a timeout must be 0 or more seconds, not {shown(value)}")
    return seconds


def _check_phases(timeout: float | httpx.Timeout) -> httpx.Timeout:
    if not isinstance(timeout, httpx.Timeout):
        timeout = httpx.Timeout(check_timeout(timeout))
    return httpx.Timeout(
        **{
            name: None if phase is None or check_timeout(phase) > MAX_PHASE else phase
            for name, phase in timeout.as_dict().items()
        }
    )


def check_poll_interval(value: object) -> float | None:
    """Return a poll interval in seconds, or None for the vendor's pace.

    Raises ConfigurationError.
    """
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None or not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        raise ConfigurationError(
            f"poll_interval must be from {MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds, not "
            f"{shown(value)}"
        )
    return seconds


def check_max_bytes(value: object) -> int:
    """Return a size limit in bytes. Raises ConfigurationError."""
    if _is_count(value):
        return value
    raise ConfigurationError(f"max_bytes must be 0 or more bytes, not {shown(value)}")


def check_count(name: str, value: object) -> int:
    """Return an argument that counts something. Raises ConfigurationError."""
    if _is_count(value):
        return value
    raise ConfigurationError(f"{name} must be an integer of 0 or more, not {shown(value)}")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_callback(value: object) -> None:
    """Raise ConfigurationError if `on_update` cannot be called."""
    if value is not None and not callable(value):
        raise ConfigurationError(f"on_update must be a function, not {shown(value)}")


def _seconds(value: object) -> float | None:
    """Return a number as a float; None if it is not a number, or too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def reject_pickle(instance: object) -> NoReturn:
    """Raise TypeError: an object that holds a connection cannot be pickled or copied."""
    raise TypeError(
        f"{type(instance).__name__} cannot be pickled or copied, because it holds a connection: "
        "keep the task's id, and resume the task with client.task(id)"
    )


def check_api_key(key: object) -> str:
    """Return an API key without the spaces around it. Raises ConfigurationError."""
    if not isinstance(key, str) or not key.strip():
        raise ConfigurationError("the API key is missing", hint=Hint.SET_KEY)
    key = key.strip()
    if not all("!" <= char <= "~" for char in key):
        raise ConfigurationError(
            "the API key contains a space or a character that is not allowed in a header: pass "
            "the key alone, without 'Bearer'"
        )
    return key


def _check_base_url(base_url: object, *, allow_http: bool) -> str:
    try:
        url = httpx.URL(base_url)  # type: ignore[arg-type]
    except (TypeError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the base URL {shown(base_url)} is invalid: {error}") from None
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError(
            "the base URL must not have a user, query or fragment: pass scheme, host and path"
        )
    if not url.host or url.scheme not in ("http", "https"):
        raise ConfigurationError(f"the base URL {str(url)!r:.200} is not an https:// URL")
    if url.scheme == "http" and not is_loopback(url.host) and not allow_http:
        raise ConfigurationError(
            f"the base URL {str(url)!r:.200} would send the key unencrypted: use https://, or set "
            "MOUNTSEA_ALLOW_HTTP=1 if everyone on the way may read it"
        )
    return str(url).rstrip("/")
