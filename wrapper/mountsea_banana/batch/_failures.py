"""What an error means for a row, and for those after it."""

from __future__ import annotations

from mountsea_banana.client import _errors as errors
from mountsea_banana.client._files import reason
from mountsea_banana.ledger._errors import InDoubt, LedgerError

from ._outcomes import Outcome, State
from ._rows import Row


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


def may_be_charged(error: Exception) -> bool:
    """Return whether a row may have been charged without a recorded task."""
    return isinstance(error, errors.SubmissionUnknown) or (
        isinstance(error, LedgerError) and error.task_id is not None
    )


def outcome_of(row: Row, error: Exception, task_id: str | None = None) -> Outcome:
    """Return what came of a row that ended with an error."""
    if isinstance(error, errors.NanoBananaError):
        problem, task_id = error.problem, task_id or error.task_id
        if isinstance(error, InDoubt):
            problem = error.entry.reason or problem
    else:
        problem = reason(error)
    state: State = "in doubt" if may_be_charged(error) else "failed"
    return Outcome(
        row.number,
        row.key,
        "running" if isinstance(error, errors.WaitTimeout) else state,
        task_id,
        error=problem,
        prompt=row.request["prompt"],
    )
