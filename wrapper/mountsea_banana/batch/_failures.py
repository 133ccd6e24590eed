"""What an error means for a row, and for those after it."""

from __future__ import annotations

from mountsea_banana.client import _errors as errors
from mountsea_banana.client._files import reason
from mountsea_banana.ledger._errors import InDoubt, KeyConflict, LedgerError

from ._outcomes import Outcome, State
from ._rows import Row

# What `wait` and `save` raise if there will be no image, or it could not be saved.
_FINAL = (errors.TaskFailed, errors.DownloadError, errors.UnexpectedResponse)


def is_refusal(error: Exception) -> bool:
    """Return whether a row was certainly not charged, and may be accepted later."""
    return isinstance(
        error, errors.RateLimitError | errors.APIConnectionError | errors.ServerError
    ) and not isinstance(error, errors.SubmissionUnknown)


def is_fatal(error: Exception) -> bool:
    """Return whether every other row would fail in the same way."""
    if isinstance(error, errors.APIStatusError):
        return error.status_code in (401, 402)  # the key, or the account's credit
    return isinstance(error, errors.ConfigurationError | LedgerError)


def is_old(error: Exception) -> bool:
    """Return whether a row failed, or has been in doubt, before this run came to it."""
    if isinstance(error, InDoubt):
        return error.__cause__ is None  # otherwise, this run's own submission caused it
    if isinstance(error, KeyConflict):
        return error.entry.state == "in doubt" or error.entry.status is not None
    return False


def may_be_charged(error: Exception) -> bool:
    """Return whether a row may have been charged without a recorded task."""
    return isinstance(error, errors.SubmissionUnknown) or (
        isinstance(error, LedgerError) and error.task_id is not None
    )


def outcome_of(row: Row, error: Exception, task_id: str | None = None) -> Outcome:
    """Return what came of a row that ended with an error; `task_id` is that of its task, if any."""
    state: State = "in doubt" if may_be_charged(error) else "failed"
    if task_id and not isinstance(error, _FINAL):
        state = "running"  # only a poll failed
    if isinstance(error, errors.NanoBananaError):
        problem, task_id = error.problem, task_id or error.task_id
        if isinstance(error, InDoubt):
            problem = error.entry.reason or problem
    else:
        problem = reason(error)
    prompt = row.request["prompt"]
    return Outcome(row.number, row.key, state, task_id, error=problem, prompt=prompt)
