"""What a response of the API means: pure functions from bytes to ids, results and errors."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
import warnings
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeGuard

import httpx
from attrs import frozen

from . import _errors as errors
from ._exchange import RawResponse
from ._redaction import Redactor
from ._requests import is_sendable

# A real response has a few hundred bytes; this bounds the memory that a broken server can use.
MAX_BYTES = 8 * 1024 * 1024

# A task id in a response that broke off is looked for in this many characters.
_BROKEN_CHARS = 10_000

_logger = logging.getLogger("mountsea_banana")
_TASK_ID = re.compile(r'"taskId"\s*:\s*("(?:[^"\\]|\\.)+")')
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]')
_CLOSING = {"{": "}", "[": "]"}
_STATUS_ERRORS: Mapping[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    422: errors.BadRequestError,
    429: errors.RateLimitError,
}


@frozen
class APIResponse:
    """A response of the API, without the key even if the server echoed it."""

    status_code: int
    headers: httpx.Headers
    text: str
    document: Any
    """The parsed body; None if it is not JSON."""
    task_id: str | None
    """Read before anything else, so that no later fault loses a charged task."""
    fault: Exception | None
    """Why the body is incomplete."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def is_wrapped(self) -> bool:
        """Whether the object of the contract is in `data`, as reported by public clients."""
        return _is_wrapped(self.document)

    @property
    def content(self) -> Mapping[str, Any]:
        """The object that the contract describes, unwrapped; empty if there is none."""
        inner = self.document["data"] if self.is_wrapped else self.document
        return inner if isinstance(inner, Mapping) else {}

    @property
    def trace_id(self) -> str | None:
        found = self.content.get("traceId") or self.headers.get("x-trace-id")
        return found if isinstance(found, str) else None


def read_response(raw: RawResponse, redact: Redactor) -> APIResponse:
    """Read a response: first the task id from the raw body, then the rest without the key."""
    original = _text(raw.body)
    document = _parse(original)
    task_id = _find_task_id(document, original)
    text = redact.truncated(original) if raw.fault else redact(original)
    if text != original:
        document = _parse(text)
    return APIResponse(
        status_code=raw.status_code,
        headers=_without_key(raw.headers, redact),
        text=text,
        document=document,
        task_id=task_id and redact(task_id),
        fault=raw.fault and redact.error(raw.fault),
    )


def _without_key(headers: httpx.Headers, redact: Redactor) -> httpx.Headers:
    items = headers.multi_items()
    if not redact.is_in("\n".join(itertools.chain(*items))):  # one search for all of them
        return headers
    return httpx.Headers(
        [(redact(name), redact(value)) for name, value in items],
        encoding=headers.encoding,  # httpx assumes ASCII for strings otherwise
    )


def _parse(text: str) -> Any:
    try:
        return _decoder.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None


def _parse_int(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:  # thousands of digits; the task id beside them must not be lost
        return float(digits)


_decoder = json.JSONDecoder(parse_int=_parse_int)


def find_task_id(body: bytes, redact: Redactor) -> str | None:
    """Return the task id in a response body, complete or not, without the key."""
    text = _text(body)
    task_id = _find_task_id(_parse(text), text)
    return task_id and redact(task_id)


def _text(body: bytes) -> str:
    return body.decode(json.detect_encoding(body), errors="replace")


def _find_task_id(document: Any, text: str) -> str | None:
    """Return the task id in a text, which is JSON of `document`, or broken if that is None."""
    if document is None:
        document = _parse_beginning(text[:_BROKEN_CHARS])
    if document is None and (match := _TASK_ID.search(text)):
        document = {"taskId": _parse(match[1])}
    if not isinstance(document, Mapping):
        return None
    found = (document["data"] if _is_wrapped(document) else document).get("taskId")
    return found if _is_id(found) else None


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _is_wrapped(document: Any) -> bool:
    if not isinstance(document, Mapping) or _is_id(document.get("taskId")):
        return False
    data = document.get("data")
    # A `status` beside `data` is that of the response, if `data` has the task.
    return isinstance(data, Mapping) and ("taskId" in data or "status" not in document)


def _parse_beginning(text: str) -> Any:
    """Return the value of JSON that broke off, as far as it is complete; None if it is not JSON.

    A search for the first `taskId` could find that of another task, such as a parent's.
    """
    brackets: list[str] = []
    complete = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        char = token[0]
        if char in _CLOSING:
            brackets.append(_CLOSING[char])
        elif char in brackets[-1:]:
            brackets.pop()
        elif char != ",":
            continue
        complete = token.start() if char == "," else token.end()
    closing = "".join(reversed(brackets))
    whole = _parse(text + closing)
    return _parse(text[:complete] + closing) if whole is None else whole


def submitted_task_id(response: APIResponse) -> str:
    """Return the id of the task that a submission created.

    Raises SubmissionUnknown if the response broke off, and SubmissionUnreadable if a complete
    response has no readable id.
    """
    if response.fault:
        raise unknown_submission(response.fault, response.task_id) from response.fault
    task_id = response.task_id
    is_safe = task_id is not None and is_sendable(task_id)
    if task_id and is_safe and response.document is not None:
        if response.is_wrapped:
            warn(f"the response to a submission was wrapped in `data`; task {task_id} is safe")
        elif response.status_code != 201:
            warn(
                f"a submission got the status {response.status_code} instead of 201; "
                "its task id was read"
            )
        return task_id
    advice = (
        f"Task {task_id} is safe: resume it instead of resending the request"
        if is_safe
        else "It may have been charged: do not resend the request blindly"
    )
    raise errors.SubmissionUnreadable(
        f"the submission was accepted ({response.status_code}), but its response violates the "
        f"contract: {_excerpt(response)}. {advice}",
        status_code=response.status_code,
        body=response.text,
        task_id=task_id,
    )


def read_result(response: APIResponse, task_id: str) -> tuple[str, Mapping[str, Any]]:
    """Return the status in the response to a poll, and the whole object.

    Raises UnexpectedResponse if the status is missing, or the response is about another task.
    """
    status = response.content.get("status")
    other = response.task_id is not None and response.task_id != task_id
    if isinstance(status, str) and status and not other and not response.fault:
        if response.is_wrapped:
            warn(f"the response about task {task_id} was wrapped in `data`")
        return status, response.content
    what = f"is about another task, {response.task_id}" if other else "violates the contract"
    raise errors.UnexpectedResponse(
        f"the response to the poll of task {task_id} {what}: {_excerpt(response)}",
        status_code=response.status_code,
        body=response.text,
        task_id=task_id,
    ) from response.fault


def status_error(
    response: APIResponse, retry_after: float | None, task_id: str | None, *, may_be_charged: bool
) -> errors.APIStatusError:
    """Return the error for a response outside 2xx."""
    status = response.status_code
    kind = _STATUS_ERRORS.get(status, errors.APIStatusError)
    if may_be_charged:
        kind = errors.SubmissionServerError
    elif status >= 500:
        kind = errors.ServerError
    name = HTTPStatus(status).phrase if status in list(HTTPStatus) else "unknown status"
    about = f"task {task_id}: " if task_id else ""
    problem = f"{about}{status} {name}: {_excerpt(response)}"
    if may_be_charged:
        problem += ". The submission may have been accepted and charged: do not resend it blindly"
    return kind(
        problem,
        status_code=status,
        body=response.text,
        headers=response.headers,
        trace_id=response.trace_id,
        retry_after=retry_after,
        task_id=task_id or response.task_id,
    )


def redirected_submission(response: APIResponse) -> errors.SubmissionUnknown:
    """Return the error for a submission that the server processed and redirected."""
    location = response.headers.get("location", "nowhere")
    return errors.SubmissionUnknown(
        f"the submission got the status {response.status_code} and a redirect to {location:.200}, "
        "which means that the server processed it. It may have been charged: check your account "
        "before you resend it",
        task_id=response.task_id,
    )


def refused_submission(response: APIResponse) -> errors.SubmissionUnknown:
    """Return the error for a submission that was refused, but has a task."""
    return errors.SubmissionUnknown(
        f"the submission got the status {response.status_code}: {_excerpt(response)}. But the "
        f"response names task {response.task_id}, which may have been created and charged",
        task_id=response.task_id,
        hint=errors.Hint.RESUME,
    )


def unknown_submission(cause: Exception, task_id: str | None) -> errors.SubmissionUnknown:
    """Return the error for a submission that got no complete response."""
    fault = errors.describe(cause)
    problem = (
        f"the submission may have been sent, but no complete response was received ({fault}). "
    )
    if task_id:
        problem += f"Task {task_id} was created"
        return errors.SubmissionUnknown(problem, task_id=task_id, hint=errors.Hint.RESUME)
    problem += "It may have been accepted and charged: check your account before you resend it"
    return errors.SubmissionUnknown(problem)


def warn(message: str) -> None:
    """Warn that the server violated its contract; log it if that fails, so that no task is lost."""
    try:
        warnings.warn(message, errors.ContractWarning, stacklevel=2)
    except Exception:  # warnings are errors, or stderr is closed
        log(message)


def log(message: str, level: int = logging.WARNING) -> None:
    """Log a message; a handler that fails must not lose a task."""
    with contextlib.suppress(Exception):
        _logger.log(level, "%s", message)


def _excerpt(response: APIResponse) -> str:
    for name in ("message", "errorMessage", "error"):
        if isinstance(message := response.content.get(name), str) and message.strip():
            return message.strip()[:500]
    text = " ".join(response.text[:1000].split())
    return (text[:200] + "…" if len(text) > 200 else text) or "the body is empty"
