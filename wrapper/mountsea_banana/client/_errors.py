"""Every error that leaves this package::

    NanoBananaError
    ├── ConfigurationError                 the client cannot be created or used like this
    ├── InvalidRequest                     the request violates rules; nothing was sent
    │                                      (also a ValueError)
    ├── APIConnectionError                 no response, and nothing was charged
    │   └── APITimeoutError
    ├── SubmissionUnknown                  the request may have been accepted and charged
    │   ├── SubmissionServerError          … the response was a 5xx (also a ServerError)
    │   └── SubmissionUnreadable           … the response has no readable task id
    │                                      (also an UnexpectedResponse)
    ├── APIStatusError                     a response outside 2xx
    │   ├── BadRequestError                400, 422
    │   ├── AuthenticationError            401
    │   ├── PermissionDeniedError          403
    │   ├── NotFoundError                  404
    │   ├── RateLimitError                 429
    │   └── ServerError                    500 and above
    ├── UnexpectedResponse                 a successful response that violates the contract
    ├── TaskFailed                         the task ended without an image
    ├── WaitTimeout                        the task is still running (also a TimeoutError)
    └── DownloadError                      the image could not be downloaded or saved

`SubmissionUnknown` is the only error after which you may have paid without knowing. All errors
can be pickled and copied, and none contains the API key.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from mountsea_banana.rules._violations import Violation


class ContractWarning(UserWarning):
    """The server violated its contract, but its response could still be read."""


class Hint(Enum):
    """What to do about an error; each value is advice for Python code."""

    SET_KEY = "pass api_key, or set MOUNTSEA_API_KEY"
    """The API key is missing."""
    OVERWRITE = "pass overwrite=True to replace it"
    """The file exists."""
    RESUME = "resume the task with client.task({task_id!r})"
    """The task is still running, or may be."""
    POLL_AGAIN = "get a fresh URL with client.task({task_id!r}).fetch()"
    """The image's URL may have expired."""


class NanoBananaError(Exception):
    """The base class of all errors of this package."""

    problem: str
    """What went wrong: the message without the hint."""
    hint: Hint | None
    """What to do, for your own interface to phrase; None if `problem` already covers it."""
    task_id: str | None
    """The task's id, if there is one: resume the task with `client.task(task_id)`."""

    def __init__(
        self, problem: str, *, task_id: str | None = None, hint: Hint | None = None
    ) -> None:
        advice = f"; {hint.value.format(task_id=task_id)}" if hint else ""
        super().__init__(problem + advice)
        self.problem = problem
        self.hint = hint
        self.task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[NanoBananaError], args: tuple[Any, ...], fields: dict[str, Any]
) -> NanoBananaError:
    error = kind.__new__(kind, *args)
    error.args = args  # an OSError, such as WaitTimeout, leaves them to its __init__
    error.__dict__.update(fields)
    return error


class ConfigurationError(NanoBananaError):
    """The client cannot be created or used like this: no key, an unsafe URL, already closed."""


class InvalidRequest(NanoBananaError, ValueError):
    """The request violates rules of the API; nothing was sent."""

    violations: list[Violation]
    """Every violation, with the field at fault and what to do."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = list(violations)
        super().__init__("; ".join(violation.message for violation in self.violations))


class APIConnectionError(NanoBananaError):
    """No response, and nothing was charged: the request was not sent, or was a poll."""


class APITimeoutError(APIConnectionError):
    """No response in time, and nothing was charged."""


class SubmissionUnknown(NanoBananaError):
    """The submission may have been accepted and charged: do not resend it blindly.

    `task_id` is set if an id could still be read; the task is then safe.
    """


class APIStatusError(NanoBananaError):
    """The server responded with a status outside 2xx."""

    status_code: int
    """The HTTP status."""
    body: str
    """The text of the response."""
    headers: httpx.Headers
    """The headers of the response."""
    trace_id: str | None
    """The id to quote to the vendor's support."""
    retry_after: float | None
    """The seconds in Retry-After; None if it is missing or malformed."""

    def __init__(
        self,
        problem: str,
        *,
        status_code: int,
        body: str,
        headers: httpx.Headers,
        trace_id: str | None = None,
        retry_after: float | None = None,
        task_id: str | None = None,
    ) -> None:
        super().__init__(problem, task_id=task_id)
        self.status_code = status_code
        self.body = body
        self.headers = headers
        self.trace_id = trace_id
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400 or 422: the server rejected the request."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key does not allow this."""


class NotFoundError(APIStatusError):
    """404: the task or the URL does not exist."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` is how long to wait, if the server sends it."""


class ServerError(APIStatusError):
    """500 or above: the server failed."""


class SubmissionServerError(ServerError, SubmissionUnknown):
    """A 5xx response to a submission, which may have been accepted before the server failed.

    A status below 200 counts as well: it is no final status, so it says nothing about the
    submission.
    """


class UnexpectedResponse(NanoBananaError):
    """The server reported success with a response that violates the contract."""

    status_code: int
    """The HTTP status."""
    body: str
    """The text of the response, so that nothing is lost."""

    def __init__(
        self,
        problem: str,
        *,
        status_code: int,
        body: str,
        task_id: str | None = None,
    ) -> None:
        super().__init__(problem, task_id=task_id)
        self.status_code = status_code
        self.body = body


class SubmissionUnreadable(UnexpectedResponse, SubmissionUnknown):
    """A submission was accepted, and most likely charged, without a readable task id."""


class TaskFailed(NanoBananaError):
    """The task ended as failed, cancelled or timeout."""

    status: str
    """The final status: failed, cancelled or timeout."""
    error_message: str | None
    """The vendor's reason, if there is one."""
    error_code: float | str | None
    """The vendor's code for the failure, if there is one."""
    trace_id: str | None
    """The id to quote to the vendor's support."""

    def __init__(
        self,
        problem: str,
        *,
        task_id: str,
        status: str,
        error_message: str | None,
        error_code: float | str | None,
        trace_id: str | None,
    ) -> None:
        super().__init__(problem, task_id=task_id)
        self.status = status
        self.error_message = error_message
        self.error_code = error_code
        self.trace_id = trace_id


class WaitTimeout(NanoBananaError, TimeoutError):
    """The task was still running at the deadline; `__cause__` is the last failed poll, if any."""


class DownloadError(NanoBananaError):
    """The image could not be downloaded or saved; no partial file was left."""

    url: str | None
    """The image's URL, if the task has one."""

    def __init__(
        self, problem: str, *, url: str | None, task_id: str, hint: Hint | None = None
    ) -> None:
        super().__init__(problem, task_id=task_id, hint=hint)
        self.url = url


def describe(error: Exception) -> str:
    """Return a one-line description of another library's exception."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_of(error: BaseException) -> str:
    """Return an exception's text; empty if it has none, or fails to give it."""
    try:
        return str(error)
    except Exception:
        return ""
