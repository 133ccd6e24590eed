"""What an error of the library means in a shell: its exit code, and its words."""

from __future__ import annotations

import re
import shlex

from mountsea_banana import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequest,
    NanoBananaError,
    SubmissionUnknown,
    TaskFailed,
)

DONE, TASK_FAILED, BAD_USE, BROKEN, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 4, 130

_OPTIONS = {
    "aspect_ratio": "--aspect-ratio",
    "resolution": "--resolution",
    "image_urls": "a URL",
}
# A value stands in quotes, and is left as it was given.
_FIELD = re.compile(
    r"""'[^']*'|"[^"]*"|image_urls\[(?P<index>\d+)\]|aspect_ratio|resolution|image_urls"""
)
_PYTHON = {"pass overwrite=True": "pass --force", "pass api_key, or set": "set"}
_PICK_UP = re.compile(r"""client\.task\((['"])(?P<id>.*?)\1\)(\.fetch\(\))?""")


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
    """Return what went wrong and what to do, one sentence for each broken rule."""
    if isinstance(error, InvalidRequest):
        return [_FIELD.sub(_option, violation.message) for violation in error.violations]
    said = in_shell_words(str(error))
    if isinstance(error, AuthenticationError):
        said += ". Look at the key in MOUNTSEA_API_KEY"
    if isinstance(error, TaskFailed):
        facts = {"error code": error.error_code, "trace id": error.trace_id}
        said += "".join(f", {name} {fact}" for name, fact in facts.items() if fact is not None)
    return [said]


def in_shell_words(text: str) -> str:
    """Return a text of the library with the commands and options that do what it advises."""
    said = _PICK_UP.sub(lambda found: shlex.join(pick_up(found["id"])), text)
    for python, shell in _PYTHON.items():
        said = said.replace(python, shell)
    return said


def pick_up(task_id: str, *options: str) -> list[str]:
    """Return the words of the command that picks a task up again."""
    command = ["nano-banana", "result"]
    if task_id.startswith("-"):  # it would be read as an option
        return [*command, *options, "--", task_id]
    return [*command, task_id, *options]


def _option(found: re.Match[str]) -> str:
    if found["index"]:
        return f"URL {int(found['index']) + 1}"
    return _OPTIONS.get(found[0], found[0])
