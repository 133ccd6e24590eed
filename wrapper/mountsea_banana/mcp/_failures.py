"""What a tool's result says about an error, in words of this server alone.

Text that comes from other servers is kept apart, because it might try to instruct the agent.
"""

from __future__ import annotations

import logging
import shlex

from attrs import frozen

from mountsea_banana.client import _errors as errors
from mountsea_banana.ledger._errors import CostLimitReached, InDoubt, KeyConflict, LedgerError
from mountsea_banana.rules._violations import Violation

from ._options import Options

_logger = logging.getLogger("mountsea_banana.mcp")


@frozen
class Failure:
    """An error in words."""

    message: str
    """What went wrong and what to do, without text from other servers."""
    untrusted: str | None = None
    """Text from other servers."""
    status: str | None = None
    """What became of the task, as far as it is known."""
    charged: str = "no"
    """Whether the call was charged: no, yes or unknown."""


def explain(error: Exception, options: Options) -> Failure:
    """Return an error in words."""
    match error:
        case errors.InvalidRequest():
            return _invalid(error)
        case errors.SubmissionUnknown():
            return _in_doubt(error, options)
        case CostLimitReached():
            return Failure(
                f"The budget of {options.budget} submissions is used up. Only a person can raise "
                "it, by starting the server with a higher --budget. Calls that were accepted can "
                "still be repeated for free"
            )
        case KeyConflict():
            return Failure(
                "The ledger has this picture from another server or another API key. A person must "
                "restore that setting, or start this server with another --output"
            )
        case errors.TaskFailed():
            return Failure(
                "The task ended without an image, and its submission was charged. Another attempt "
                "needs another variant, and is charged again",
                error.error_message,
                "failed",
            )
        case errors.DownloadError():
            return Failure(
                "The image is done, but it could not be downloaded and saved. Call get_task with "
                "the task_id to try again, free of charge",
                error.problem,
                "completed",
            )
        case LedgerError() if error.task_id:
            return Failure(
                "The task was created, but it could not be recorded. Call get_task with the "
                "task_id, and tell a person",
                error.problem,
                "running",
                "yes",
            )
        case errors.ConfigurationError() | LedgerError():
            return Failure(f"This server cannot do that: {_advise(error)}")
        case errors.AuthenticationError() | errors.PermissionDeniedError():
            advice = "A person must check MOUNTSEA_API_KEY"
            return Failure(f"The API refused the API key. {advice}", error.problem)
        case errors.NotFoundError() if error.task_id:
            return Failure("The API has no such task", error.problem)
        case errors.APIStatusError():
            return Failure(
                f"The API responded with the status {error.status_code}. Try again later",
                error.problem,
            )
        case errors.NanoBananaError():
            return Failure("The API gave no usable response. Try again later", error.problem)
        case _:
            _logger.error("a call failed", exc_info=error)
            return Failure(
                f"Unexpected {type(error).__name__}; the log of this server has the details. The "
                "same call is charged at most once, so it can be repeated",
                status="unknown",
                charged="unknown",
            )


def _invalid(error: errors.InvalidRequest) -> Failure:
    sentences = "; ".join(map(_sentence, error.violations))
    fetched = [each.message for each in error.violations if _is_of_an_image(each)]
    return Failure(f"Nothing was sent: {sentences}", "; ".join(fetched) or None)


def _sentence(violation: Violation) -> str:
    if _is_of_an_image(violation):
        return f"{violation.field} cannot be used ({violation.rule}): pass the URL of another image"
    return violation.message


def _is_of_an_image(violation: Violation) -> bool:
    """Return whether a violation was found by requesting a source image."""
    return violation.rule in ("image-is-reachable", "image-is-an-image", "image-at-most-10-mb")


def _in_doubt(error: errors.SubmissionUnknown, options: Options) -> Failure:
    key, reason = "KEY", error.problem
    if isinstance(error, InDoubt):
        key, reason = shlex.quote(error.key), error.entry.reason or reason
    ledger = shlex.quote(str(options.ledger))
    settle = f"nano-banana ledger settle {key} TASK_ID --ledger {ledger}"
    release = f"nano-banana ledger release {key} --ledger {ledger}"
    return Failure(
        "The request may have been accepted, but its task is not known. It is never sent again by "
        "itself, and another variant may pay twice. A person must look for the task in the "
        f"account, then run `{settle}`, or `{release}` if the account does not have it",
        reason,
        "unknown",
        "unknown",
    )


def _advise(error: errors.NanoBananaError) -> str:
    if error.hint is errors.Hint.SET_KEY:
        return (
            "the API key is missing. A person must set MOUNTSEA_API_KEY in the configuration of "
            "this server, and restart it"
        )
    return error.problem
