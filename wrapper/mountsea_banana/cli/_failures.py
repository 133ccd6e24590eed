"""What an error of the library means in a shell: its exit code, and its words."""

from __future__ import annotations

import re

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
    said = _PICK_UP.sub(r"nano-banana result \g<id>", str(error))
    for python, shell in _PYTHON.items():
        said = said.replace(python, shell)
    if isinstance(error, AuthenticationError):
        said += ". Look at the key in MOUNTSEA_API_KEY"
    if isinstance(error, TaskFailed):
        facts = {"error code": error.error_code, "trace id": error.trace_id}
        said += "".join(f", {name} {fact}" for name, fact in facts.items() if fact is not None)
    return [said]


def _option(found: re.Match[str]) -> str:
    if found["index"]:
        return f"URL {int(found['index']) + 1}"
    return _OPTIONS.get(found[0], found[0])
