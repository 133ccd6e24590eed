"""May a request be sent again, and when: pure decisions.

A submission that the server accepts is charged, and the API has no idempotency key. A submission
is therefore sent again only where it cannot have been accepted.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx

from . import _errors as errors
from . import _responses as _answers
from ._exchange import DeadlinePassed
from ._responses import Answer

# A longer wait is the caller's to decide on: a longer Retry-After is raised, not slept.
MAX_RETRY_AFTER = 60.0
BACKOFF = (0.5, 1.0, 2.0, 4.0, 8.0)

_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


def delay(
    outcome: Answer | Exception, *, is_submission: bool, attempt: int, jitter: float, now: float
) -> float | None:
    """Return the seconds to wait before sending again; None where that must not be done.

    `attempt` counts from 0; `jitter` is from 0 up to 1; `now` is in seconds since the epoch.
    """
    if isinstance(outcome, Answer):
        asked = retry_after(outcome.headers, now)
        if not _may_repeat(outcome, asked, is_submission=is_submission):
            return None
        if asked is not None:
            return asked if asked <= MAX_RETRY_AFTER else None
    elif is_submission and _may_be_charged(outcome, None):
        return None
    return BACKOFF[min(attempt, len(BACKOFF) - 1)] * (0.75 + jitter / 4)


def _may_repeat(answer: Answer, asked: float | None, *, is_submission: bool) -> bool:
    """Say whether the request behind an answer may be sent again."""
    if answer.is_success:
        return answer.fault is not None and not is_submission
    if answer.status_code == 429:
        return True
    return answer.status_code >= 500 and not (is_submission and _may_be_charged(answer, asked))


def _may_be_charged(outcome: Answer | Exception, asked: float | None) -> bool:
    """Say whether a submission that failed like this may have been accepted all the same.

    `asked` is the answer's Retry-After: a 503 with one says that the server took nothing on.
    """
    if isinstance(outcome, Answer):
        return outcome.status_code >= 500 and not (outcome.status_code == 503 and asked is not None)
    return not isinstance(outcome, _NEVER_LEFT)


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Return the seconds that Retry-After asks for; None where it is missing or malformed."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def settle(
    outcome: Answer | Exception, *, is_submission: bool, task_id: str | None, now: float
) -> Answer:
    """Return the answer where it is a success; raise what it is otherwise.

    Raises SubmissionUnknown, APIConnectionError, APITimeoutError or an APIStatusError.
    """
    if isinstance(outcome, Answer):
        if outcome.is_success:
            return outcome
        asked = retry_after(outcome.headers, now)
        may_be_charged = is_submission and _may_be_charged(outcome, asked)
        raise _answers.status_error(
            outcome, asked, task_id, may_be_charged=may_be_charged
        ) from outcome.fault
    if is_submission and _may_be_charged(outcome, None):
        raise _answers.unknown_submission(outcome, None) from outcome
    about = f"the look at task {task_id} got no answer" if task_id else "the request was not sent"
    message = f"{about} ({_answers.describe(outcome)}); nothing was charged by it"
    raise _connection_error(outcome)(message, task_id=task_id) from outcome


def _connection_error(cause: Exception) -> type[errors.APIConnectionError]:
    late = isinstance(cause, httpx.TimeoutException | DeadlinePassed)
    return errors.APITimeoutError if late else errors.APIConnectionError
