"""The exit codes and messages for the library's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mountsea_banana import (
    AuthenticationError,
    ConfigurationError,
    Hint,
    InvalidRequest,
    NanoBananaError,
    SubmissionUnknown,
    TaskFailed,
    Violation,
)
from mountsea_banana.ledger import InDoubt, KeyConflict

from ._documents import Charged

DONE, TASK_FAILED, BAD_USE, BROKEN, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 4, 130

OVERWRITE = "pass --force to replace it"

# The others have none: the command that resumes the task follows the message.
_ADVICE: Mapping[Hint | None, str] = {
    Hint.SET_KEY: "set MOUNTSEA_API_KEY",
    Hint.OVERWRITE: OVERWRITE,
}
_FIELDS = {
    "aspect_ratio": "--aspect-ratio",
    "resolution": "--resolution",
    "model": "--model",
    "prompt": "PROMPT",
    "image_urls": "URL",
    "task_id": "TASK_ID",
}
_IMAGE_URL = re.compile(r"image_urls\[(\d+)\]")


def exit_code(error: BaseException, charged: Charged = "no") -> int:
    """Return the exit code of a command that ends with `error`."""
    match error:
        case TaskFailed():
            return TASK_FAILED
        case InvalidRequest() | ConfigurationError() | KeyConflict():
            return BAD_USE
        case SubmissionUnknown():
            return UNKNOWN
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return UNKNOWN if charged == "unknown" else BROKEN


def explain(error: BaseException) -> list[str]:
    """Return what went wrong and what to do, in one sentence per violation."""
    if isinstance(error, InvalidRequest):
        return [_violation(each) for each in error.violations]
    if not isinstance(error, NanoBananaError):
        return [f"unexpected {type(error).__name__}: {error}"]
    if isinstance(error, InDoubt):
        return _doubt(error)
    message = error.problem
    if error.hint in _ADVICE:
        message += f"; {_ADVICE[error.hint]}"
    if isinstance(error, AuthenticationError):
        message += ". Check the key in MOUNTSEA_API_KEY"
    if isinstance(error, TaskFailed):
        facts = {"error code": error.error_code, "trace id": error.trace_id}
        message += "".join(f", {name} {fact}" for name, fact in facts.items() if fact is not None)
    return [message]


def _doubt(error: InDoubt) -> list[str]:
    if isinstance(error.__cause__, NanoBananaError):  # what has just happened
        return explain(error.__cause__)
    entry = error.entry
    when = f"{entry.claimed_at.astimezone():%Y-%m-%d %H:%M}"
    return [f"the key {entry.key!r} is in doubt since {when}, and nothing is sent: {entry.reason}"]


def _violation(violation: Violation) -> str:
    url = _IMAGE_URL.fullmatch(violation.field)
    if url:
        sentence = violation.describe(f"URL {int(url[1]) + 1}")
        is_of_check = violation.rule in ("image-is-reachable", "image-is-an-image")
        return f"{sentence}; pass --no-check-images to send it anyway" if is_of_check else sentence
    return violation.describe(_FIELDS.get(violation.field, violation.field))


def resume(task_id: str, *options: str) -> list[str]:
    """Return the words of the command that resumes a task."""
    return _command("result", [task_id], options)


def settle(key: str, task_id: str, *options: str) -> list[str]:
    """Return the words of the command that settles a key."""
    return _command("ledger settle", [key, task_id], options)


def release(key: str, *options: str) -> list[str]:
    """Return the words of the command that releases a key."""
    return _command("ledger release", [key], options)


def _command(name: str, arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    words = ["nano-banana", *name.split()]
    if any(each.startswith("-") for each in arguments):  # it would be parsed as an option
        return [*words, *options, "--", *arguments]
    return [*words, *arguments, *options]
