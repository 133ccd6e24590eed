"""Every error that leaves this package::

    NanoBananaError
    ├── ConfigurationError                 the client cannot be made or used like this
    ├── InvalidRequest                     broken rules; nothing was sent (also a ValueError)
    ├── APIConnectionError                 no answer, and nothing was charged
    │   └── APITimeoutError
    ├── SubmissionUnknown                  the request may have been accepted and charged
    │   ├── SubmissionServerError          … it was answered with a 5xx (also a ServerError)
    │   └── SubmissionUnreadable           … it was accepted without a readable task id
    │                                      (also an UnexpectedResponse)
    ├── APIStatusError                     an answer outside 2xx
    │   ├── BadRequestError                400, 422
    │   ├── AuthenticationError            401
    │   ├── PermissionDeniedError          403
    │   ├── NotFoundError                  404
    │   ├── RateLimitError                 429
    │   └── ServerError                    500 and above
    ├── UnexpectedResponse                 a success that breaks the contract
    ├── TaskFailed                         the task ended without a picture
    ├── WaitTimeout                        the task is still running (also a TimeoutError)
    └── DownloadError                      the picture could not be fetched or saved

One rule for money: whatever is not a `SubmissionUnknown` has cost nothing that the caller does not
know of. All of them pickle and copy; none ever holds the API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from mountsea_banana.rules._rules import Violation


class ContractWarning(UserWarning):
    """The server broke its contract in a way that could be read all the same."""


class NanoBananaError(Exception):
    """The base of all errors of this package."""

    task_id: str | None
    """The task at hand, where there is one: pick it up again with `client.task(task_id)`."""

    def __init__(self, message: str, *, task_id: str | None = None) -> None:
        super().__init__(message)
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
    """The client cannot be made, or be used, like this: no key, an unsafe address, closed."""


class InvalidRequest(NanoBananaError, ValueError):
    """The request breaks rules of the API; nothing was sent."""

    violations: list[Violation]
    """Every broken rule, with the field at fault and what to do."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = list(violations)
        super().__init__("; ".join(violation.message for violation in self.violations))


class APIConnectionError(NanoBananaError):
    """No answer came, and nothing was charged: the request never left, or changes nothing."""


class APITimeoutError(APIConnectionError):
    """No answer came in time, and nothing was charged."""


class SubmissionUnknown(NanoBananaError):
    """The submission may have been accepted and charged: do not send it again blindly.

    `task_id` is set where an id could still be read; the task is then safe.
    """


class APIStatusError(NanoBananaError):
    """The server answered with a status outside 2xx."""

    status_code: int
    """The HTTP status."""
    body: str
    """The text of the answer."""
    headers: httpx.Headers
    """The answer's headers."""
    trace_id: str | None
    """The id to quote to the vendor's support."""
    retry_after: float | None
    """Seconds that the server asked to wait, where it did so in a valid form."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: str,
        headers: httpx.Headers,
        trace_id: str | None = None,
        retry_after: float | None = None,
        task_id: str | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.status_code = status_code
        self.body = body
        self.headers = headers
        self.trace_id = trace_id
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400 or 422: the server refused the request."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this."""


class NotFoundError(APIStatusError):
    """404: there is no such task, or no such address."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` says how long to wait, where the server said so."""


class ServerError(APIStatusError):
    """500 or above: the server failed."""


class SubmissionServerError(ServerError, SubmissionUnknown):
    """A submission was answered with a 5xx: it may have been accepted before the failure."""


class UnexpectedResponse(NanoBananaError):
    """The server reported success with an answer that breaks the contract."""

    status_code: int
    """The HTTP status."""
    body: str
    """The text of the answer, so that nothing is lost."""

    def __init__(
        self, message: str, *, status_code: int, body: str, task_id: str | None = None
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.status_code = status_code
        self.body = body


class SubmissionUnreadable(UnexpectedResponse, SubmissionUnknown):
    """A submission was accepted, and most likely charged, without a readable task id."""


class TaskFailed(NanoBananaError):
    """The task ended as failed, cancelled or timeout."""

    status: str
    """The last status: failed, cancelled or timeout."""
    error_message: str | None
    """Why, in the vendor's words, where it said so."""
    error_code: float | str | None
    """The vendor's code for the failure, where it gave one."""
    trace_id: str | None
    """The id to quote to the vendor's support."""

    def __init__(
        self,
        message: str,
        *,
        task_id: str,
        status: str,
        error_message: str | None,
        error_code: float | str | None,
        trace_id: str | None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status
        self.error_message = error_message
        self.error_code = error_code
        self.trace_id = trace_id


class WaitTimeout(NanoBananaError, TimeoutError):
    """The task was still running at the deadline; its cause is the last failed look, if any."""


class DownloadError(NanoBananaError):
    """The picture could not be fetched or saved; no partial file was left."""

    url: str | None
    """The picture's address, where the task has one."""

    def __init__(self, message: str, *, url: str | None, task_id: str) -> None:
        super().__init__(message, task_id=task_id)
        self.url = url
