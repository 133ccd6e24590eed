"""The exit codes and messages for the library's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def exit_code(error: NanoBananaError) -> int:
    """Return the exit code of a command that ends with `error`."""
    match error:
        case TaskFailed():
            return TASK_FAILED
        case InvalidRequest() | ConfigurationError():
            return BAD_USE
        case SubmissionUnknown():
            return UNKNOWN
        case _:
            return BROKEN


def explain(error: NanoBananaError) -> list[str]:
    """Return what went wrong and what to do, in one sentence per violation."""
    if isinstance(error, InvalidRequest):
        return [_violation(each) for each in error.violations]
    message = error.problem
    if error.hint in _ADVICE:
        message += f"; {_ADVICE[error.hint]}"
    if isinstance(error, AuthenticationError):
        message += ". Check the key in MOUNTSEA_API_KEY"
    if isinstance(error, TaskFailed):
        facts = {"error code": error.error_code, "trace id": error.trace_id}
        message += "".join(f", {name} {fact}" for name, fact in facts.items() if fact is not None)
    return [message]


def _violation(violation: Violation) -> str:
    url = _IMAGE_URL.fullmatch(violation.field)
    if url:
        return violation.describe(f"URL {int(url[1]) + 1}")
    return violation.describe(_FIELDS.get(violation.field, violation.field))


def resume(task_id: str, *options: str) -> list[str]:
    """Return the words of the command that resumes a task."""
    command = ["nano-banana", "result"]
    if task_id.startswith("-"):  # it would be parsed as an option
        return [*command, *options, "--", task_id]
    return [*command, task_id, *options]
