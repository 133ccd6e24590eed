"""Whether a request may be retried, and when: decisions without I/O.

A submission that the server accepts is charged, and the API has no idempotency key. A submission is
therefore retried only if it cannot have been accepted.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx

from . import _errors as errors
from . import _responses
from ._exchange import DeadlinePassed, Failure
from ._requests import APIRequest
from ._responses import APIResponse

# A longer wait is the caller's decision: for a longer Retry-After, the error is raised.
MAX_RETRY_AFTER = 60.0
# A server that processed a POST redirects to the result (RFC 9110, section 15.4.4).
PROCESSED = (301, 302, 303)
BACKOFF = (0.5, 1.0, 2.0, 4.0, 8.0)


def delay(
    outcome: APIResponse | Failure,
    request: APIRequest,
    *,
    attempt: int,
    jitter: float,
    now: float,
) -> float | None:
    """Return the seconds to wait before a retry; None if it must not be retried.

    `attempt` counts from 0; `jitter` is at least 0 and less than 1; `now` is in seconds since the
    epoch.
    """
    if isinstance(outcome, APIResponse):
        asked = retry_after(outcome.headers, now)
        if not _may_retry(outcome, asked, request):
            return None
        if asked is not None:
            return asked if asked <= MAX_RETRY_AFTER else None
    elif request.is_submission and outcome.may_have_left:
        return None
    return BACKOFF[min(attempt, len(BACKOFF) - 1)] * (0.75 + jitter / 4)


def _may_retry(response: APIResponse, asked: float | None, request: APIRequest) -> bool:
    """Return whether the request may be retried after this response."""
    if response.is_success:  # its body broke off
        return not request.is_submission
    if request.is_submission and (response.task_id or _may_be_charged(response, asked)):
        return False
    return response.status_code == 429 or response.status_code >= 500


def _may_be_charged(response: APIResponse, asked: float | None) -> bool:
    """Return whether a submission with this response may have been accepted.

    `asked` is the response's Retry-After: a 503 that has one means that nothing was accepted. A
    status that is no final one says as little as a 5xx (RFC 9110, section 15).
    """
    if response.status_code == 503:
        return asked is None
    return not 200 <= response.status_code < 500


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Return the seconds in Retry-After; None if it is missing or malformed."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def settle(outcome: APIResponse | Failure, request: APIRequest, *, now: float) -> APIResponse:
    """Return a success; raise the matching error for any other outcome.

    Raises SubmissionUnknown, APIConnectionError, APITimeoutError or an APIStatusError.
    """
    if isinstance(outcome, APIResponse):
        if outcome.is_success:
            return outcome
        if request.is_submission and outcome.status_code in PROCESSED:
            raise _responses.redirected_submission(outcome)
        asked = retry_after(outcome.headers, now)
        may_be_charged = request.is_submission and _may_be_charged(outcome, asked)
        if request.is_submission and outcome.task_id and not may_be_charged:
            raise _responses.refused_submission(outcome)
        raise _responses.status_error(
            outcome, asked, request.task_id, may_be_charged=may_be_charged
        ) from outcome.fault
    error = outcome.error
    if request.is_submission and outcome.may_have_left:
        raise _responses.unknown_submission(error, None) from error
    task_id = request.task_id
    what = f"the poll of task {task_id} got no response" if task_id else "the request was not sent"
    problem = f"{what} ({errors.describe(error)}); nothing was charged"
    if isinstance(error, httpx.ConnectError):
        problem += f". No connection to {outcome.base_url}: is MOUNTSEA_BASE_URL right?"
    raise _connection_error(error)(problem, task_id=task_id) from error


def _connection_error(cause: Exception) -> type[errors.APIConnectionError]:
    is_timeout = isinstance(cause, httpx.TimeoutException | DeadlinePassed)
    return errors.APITimeoutError if is_timeout else errors.APIConnectionError
