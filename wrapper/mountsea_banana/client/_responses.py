"""What an answer of the API means: pure functions from bytes to ids, results and errors."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
from attrs import frozen

from . import _errors as errors

if TYPE_CHECKING:
    from ._exchange import Reply
    from ._redaction import Redactor

# A measured answer has a few hundred bytes; this only bounds what a broken server can make us hold.
MAX_BYTES = 8 * 1024 * 1024

_logger = logging.getLogger("mountsea_banana")
_TASK_ID = re.compile(r'"taskId"\s*:\s*"([^"\\]+)"')
_STATUS_ERRORS: Mapping[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    422: errors.BadRequestError,
    429: errors.RateLimitError,
}


@frozen
class Answer:
    """An answer of the API with the key taken out, should the server have echoed it."""

    status_code: int
    headers: httpx.Headers
    text: str
    document: Any
    """The parsed body; None where it is no JSON."""
    task_id: str | None
    """Read before anything else was, so that no later fault loses a charged task."""
    is_wrapped: bool
    fault: Exception | None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def content(self) -> Mapping[str, Any]:
        """The object that the contract describes, unwrapped; empty where there is none."""
        inner = self.document["data"] if self.is_wrapped else self.document
        return inner if isinstance(inner, Mapping) else {}

    @property
    def trace_id(self) -> str | None:
        found = self.content.get("traceId") or self.headers.get("x-trace-id")
        return found if isinstance(found, str) else None


def read_answer(reply: Reply, redact: Redactor) -> Answer:
    """Read a reply: the task id from the raw body first, then the rest without the key."""
    raw = reply.body.decode(json.detect_encoding(reply.body), errors="replace")
    document = _parse(raw)
    task_id, is_wrapped = _find_task_id(document)
    if document is None and (match := _TASK_ID.search(raw)):
        task_id = match[1]
    text = redact(raw)
    if text != raw:
        document = _parse(text)
        is_wrapped = _find_task_id(document)[1]
    return Answer(
        status_code=reply.status_code,
        headers=httpx.Headers(
            [(redact(name), redact(value)) for name, value in reply.headers.multi_items()],
            encoding=reply.headers.encoding,  # httpx takes text for ASCII otherwise
        ),
        text=text,
        document=document,
        task_id=task_id,
        is_wrapped=is_wrapped,
        fault=reply.fault and redact.error(reply.fault),
    )


def _parse(text: str) -> Any:
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_int=_parse_int)
    except (ValueError, RecursionError):
        return None


def _parse_int(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:  # thousands of digits; the task id beside them must not be lost
        return float(digits)


def _find_task_id(document: Any) -> tuple[str | None, bool]:
    """Return the task id, and whether the answer is wrapped in `data`, as public clients saw."""
    if not isinstance(document, Mapping):
        return None, False
    data = document.get("data")
    is_wrapped = "taskId" not in document and "status" not in document and isinstance(data, Mapping)
    found = data.get("taskId") if is_wrapped and data is not None else document.get("taskId")
    return (found if isinstance(found, str) and found.strip() else None), is_wrapped


def submitted_task_id(answer: Answer) -> str:
    """Return the id of the task that a submission made.

    Raises SubmissionUnknown where the answer broke off, SubmissionUnreadable where a whole answer
    has no readable id.
    """
    if answer.fault:
        raise unknown_submission(answer.fault, answer.task_id) from answer.fault
    if answer.task_id and answer.document is not None:
        if answer.is_wrapped:
            warn(f"the answer to a submission was wrapped in `data`; task {answer.task_id} is safe")
        elif answer.status_code != 201:
            warn(f"a submission was answered {answer.status_code}, not 201; its task id was read")
        return answer.task_id
    safe = f"The task {answer.task_id} is safe" if answer.task_id else "It may have been charged"
    raise errors.SubmissionUnreadable(
        f"the submission was accepted ({answer.status_code}) with an answer that breaks the "
        f"contract: {_excerpt(answer)}. {safe}: do not send it again blindly",
        status_code=answer.status_code,
        body=answer.text,
        task_id=answer.task_id,
    )


def read_result(answer: Answer, task_id: str) -> tuple[str, Mapping[str, Any]]:
    """Return a look's status and its whole object.

    Raises UnexpectedResponse for an answer without a status, or about another task.
    """
    status = answer.content.get("status")
    other = answer.task_id is not None and answer.task_id != task_id
    if isinstance(status, str) and status and not other and not answer.fault:
        if answer.is_wrapped:
            warn(f"the answer about task {task_id} was wrapped in `data`")
        return status, answer.content
    what = f"about another task, {answer.task_id}" if other else "that breaks the contract"
    raise errors.UnexpectedResponse(
        f"the look at task {task_id} got an answer {what}: {_excerpt(answer)}",
        status_code=answer.status_code,
        body=answer.text,
        task_id=task_id,
    ) from answer.fault


def status_error(
    answer: Answer, retry_after: float | None, task_id: str | None, *, may_be_charged: bool
) -> errors.APIStatusError:
    """Return the error for an answer outside 2xx."""
    status = answer.status_code
    kind = _STATUS_ERRORS.get(status, errors.APIStatusError)
    if status >= 500:
        kind = errors.SubmissionServerError if may_be_charged else errors.ServerError
    name = HTTPStatus(status).phrase if status in list(HTTPStatus) else "unknown status"
    about = f"task {task_id}: " if task_id else ""
    message = f"{about}{status} {name}: {_excerpt(answer)}"
    if may_be_charged:
        message += (
            ". The submission may have been accepted and charged: do not send it again blindly"
        )
    return kind(
        message,
        status_code=status,
        body=answer.text,
        headers=answer.headers,
        trace_id=answer.trace_id,
        retry_after=retry_after,
        task_id=task_id or answer.task_id,
    )


def unknown_submission(cause: Exception, task_id: str | None) -> errors.SubmissionUnknown:
    """Return the error for a submission whose answer did not come whole."""
    advice = (
        f"The task {task_id} was made: pick it up with client.task({task_id!r})"
        if task_id
        else "It may have been accepted and charged: look at your account before sending it again"
    )
    return errors.SubmissionUnknown(
        f"the submission was sent, and no whole answer came back ({describe(cause)}). {advice}",
        task_id=task_id,
    )


def describe(error: Exception) -> str:
    """Name an exception of a library in one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def warn(message: str) -> None:
    """Warn of a broken contract; where warnings are errors, log it: no warning costs a task."""
    try:
        warnings.warn(message, errors.ContractWarning, stacklevel=2)
    except errors.ContractWarning:
        _logger.warning("%s", message)


def _excerpt(answer: Answer) -> str:
    for name in ("message", "errorMessage", "error"):
        if isinstance(said := answer.content.get(name), str) and said.strip():
            return said.strip()[:500]
    text = " ".join(answer.text[:1000].split())
    return (text[:200] + "…" if len(text) > 200 else text) or "the body is empty"
