"""How a client is set up, and what it may be used for: the part without I/O."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

import httpx
from attrs import field, frozen

from mountsea_banana._shared.clock import Clock
from mountsea_banana._shared.hosts import is_loopback
from mountsea_banana._version import __version__
from mountsea_banana.rules import _rules
from mountsea_banana.rules._rules import Violation

from ._errors import ConfigurationError, InvalidRequest
from ._exchange import Outcome
from ._flows import Call
from ._redaction import Redactor
from ._responses import Answer, read_answer

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

DEFAULT_BASE_URL = "https://api.mountsea.ai"
DEFAULT_TIMEOUT = httpx.Timeout(60.0, connect=10.0)


class BearerAuth(httpx.Auth):
    """Puts the key on a request as it leaves, so that it stands nowhere before or after."""

    def __init__(self, key: str, redact: Redactor) -> None:
        self._key = key
        # A request can outlive its client, and is watched as long as it does.
        self._redact = redact

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


@frozen
class Settings:
    """A client's checked configuration."""

    base_url: str
    timeout: httpx.Timeout
    max_retries: int
    auth: BearerAuth = field(repr=False)
    redact: Redactor = field(repr=False)
    clock: Clock = field(factory=Clock)
    _pid: int = field(factory=os.getpid)

    @property
    def seconds(self) -> float:
        """How long one exchange may take in all: the sum of what its parts may take."""
        parts = (self.timeout.connect, self.timeout.pool, self.timeout.write, self.timeout.read)
        return sum(math.inf if part is None else part for part in parts)

    def request(self, call: Call) -> dict[str, Any]:
        """Return what `httpx.Client.build_request` takes for a call."""
        headers = {
            **call.arguments.get("headers", {}),
            "Accept": "application/json",
            "User-Agent": f"mountsea-banana/{__version__}",
        }
        return {
            **call.arguments,
            "url": self.base_url + call.arguments["url"],
            "headers": headers,
            "timeout": self.timeout,
        }

    def read(self, outcome: Outcome) -> Answer | Exception:
        """Return the answer in a reply, without the key."""
        if isinstance(outcome, Exception):
            return self.redact.error(outcome)
        return read_answer(outcome, self.redact)

    def check_use(self, *, is_closed: bool) -> None:
        """Raise ConfigurationError where the client can no longer be used."""
        if is_closed:
            raise ConfigurationError(
                "this client is closed: make a new one; a task is picked up again by its id"
            )
        if os.getpid() != self._pid:
            raise ConfigurationError("this client was made before a fork: make one in each process")


def settings(
    api_key: str | None, base_url: str | None, timeout: float | httpx.Timeout, max_retries: int
) -> Settings:
    """Check a client's arguments, taking what is None from the environment.

    Raises ConfigurationError.
    """
    key = _check_key(os.environ.get("MOUNTSEA_API_KEY") if api_key is None else api_key)
    if base_url is None:
        base_url = os.environ.get("MOUNTSEA_BASE_URL") or DEFAULT_BASE_URL
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        raise ConfigurationError(f"max_retries is a number from 0 up, not {max_retries!r}")
    redact = Redactor(key)
    redact.watch_logs()
    return Settings(
        base_url=_check_base_url(base_url),
        timeout=timeout if isinstance(timeout, httpx.Timeout) else httpx.Timeout(seconds(timeout)),
        max_retries=max_retries,
        auth=BearerAuth(key, redact),
        redact=redact,
    )


def seconds(value: object) -> float:
    """Return a time-out in seconds; raise ConfigurationError where it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise ConfigurationError(f"a timeout is a number of seconds from 0 up, not {value!r:.100}")


def body_of(request: NanoImageDto | Mapping[str, object]) -> dict[str, object]:
    """Return the JSON body of a request; raise InvalidRequest where it breaks a rule."""
    body, violations = _rules.judge(request)
    if violations:
        raise InvalidRequest(violations)
    return body


def fields(action: str, prompt: str, **options: object) -> dict[str, object]:
    """Return a request's fields as the caller gave them; None counts as not given."""
    given = {name: value for name, value in options.items() if value is not None}
    return {"action": action, "prompt": prompt, **given}


def as_list(image_urls: object) -> object:
    """Return one address, or a sequence of them, as a list; anything else as it is."""
    if isinstance(image_urls, str):
        return [image_urls]
    return list(image_urls) if isinstance(image_urls, list | tuple) else image_urls


def urls_of(body: Mapping[str, object]) -> list[str]:
    """Return the addresses of the pictures in a body that keeps the rules."""
    return cast("list[str]", body["image_urls"])


def check_task_id(task_id: object) -> str:
    """Return a task id that can be asked for; raise InvalidRequest where it is none."""
    if isinstance(task_id, str) and task_id.strip() and _is_utf8(task_id):
        return task_id
    message = f"a task id is the text that a submission returned, not {task_id!r:.100}"
    raise InvalidRequest([Violation("type", "task_id", message)])


def refuse_pickle(thing: object) -> NoReturn:
    """Raise TypeError: what holds a connection cannot be pickled or copied."""
    raise TypeError(
        f"{type(thing).__name__} cannot be pickled or copied: it holds a connection. "
        "Keep the task's id, and pick it up with client.task(id)"
    )


def _check_key(key: object) -> str:
    if not isinstance(key, str) or not key.strip():
        raise ConfigurationError("no API key: pass api_key, or set MOUNTSEA_API_KEY")
    key = key.strip()
    if not all("!" <= char <= "~" for char in key):
        raise ConfigurationError(
            "the API key holds a blank or a character that no header can carry: give the key "
            "alone, without 'Bearer'"
        )
    return key


def _check_base_url(base_url: object) -> str:
    try:
        url = httpx.URL(base_url)  # type: ignore[arg-type]
    except (TypeError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the base URL {base_url!r:.200} is none: {error}") from None
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError("a base URL has no user, query or fragment: give host and path")
    if not url.host or url.scheme not in ("http", "https"):
        raise ConfigurationError(f"the base URL {str(url)!r:.200} is no https:// address")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ConfigurationError(
            f"the base URL {str(url)!r:.200} would send the key in the clear: use https://; "
            "http:// is for this machine only"
        )
    return str(url).rstrip("/")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
