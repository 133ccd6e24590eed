"""Compares responses with the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from mountsea_banana.contract import Operation

from ._case import Case
from ._oracle import Verdict
from ._transport import Response


@frozen
class Violation:
    """One way in which a response violates the contract."""

    kind: str
    """A short name, such as `accepted`, `rejected`, `failed` or `response`."""
    text: str
    """What the server does, as a predicate without its subject: `responds with 500`."""
    detail: str = ""
    """For the kind `response`, a description that is the same in every run."""


def violations(case: Case, response: Response) -> Iterator[Violation]:
    """Yield every way in which the response to a case violates the contract."""
    status = response.status
    succeeded = 200 <= status < 300
    is_documented_method = case.request.method == case.operation.method
    if status == 429:
        return  # The server is still rate limiting after all retries, which is not a violation.
    if status == 0:
        if not case.may_disconnect:
            yield Violation("no response", f"does not respond: {response.fault}")
    elif status >= 500 and status not in case.rejection_statuses:
        yield Violation("failed", f"responds with {status}")
    elif case.verdict is Verdict.REJECT:
        if succeeded:
            yield Violation("accepted", f"responds with {status} instead of rejecting the request")
        elif status not in case.rejection_statuses:
            expected = "401 or 403" if 401 in case.rejection_statuses else "a 4xx status"
            yield Violation("wrong status", f"responds with {status} instead of {expected}")
    elif status == 401 and is_documented_method:
        yield Violation("key rejected", "responds with 401 to a valid key")
    elif case.verdict is Verdict.ACCEPT and not succeeded:
        yield Violation("rejected", f"responds with {status} instead of accepting the request")
    elif succeeded and is_documented_method:
        yield from response_violations(case.operation, response)


def response_violations(operation: Operation, response: Response) -> Iterator[Violation]:
    """Yield every way in which a successful response differs from the documented one."""
    if response.status != operation.success_status:
        text = f"responds with {response.status} instead of {operation.success_status}"
        yield Violation("response", text, f"status {response.status}")
    if operation.success is None:
        return
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        text = f"responds with the content type {media_type!r} instead of application/json"
        yield Violation("response", text, "content type")
    try:
        value = json.loads(response.body.decode(), parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        text = f"responds with invalid JSON ({type(error).__name__})"
        yield Violation("response", text, "invalid JSON")
        return
    for problem in operation.success.problems(value):
        place = problem.field or "body"
        text = f"responds with a body that violates its schema: {place}: {problem.message:.150}"
        yield Violation("response", text, f"schema {place} {problem.rule}")
    task_id = value.get("taskId") if isinstance(value, dict) else None
    if isinstance(task_id, str) and not task_id.strip():
        yield Violation("response", "responds with an empty taskId", "empty taskId")


def read_object(response: Response) -> dict[str, Any]:
    """Return the JSON object in a response, or an empty one if the response has none."""
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _reject_constant(name: str) -> None:
    """Reject NaN and Infinity, which Python's parser accepts but JSON does not have."""
    raise ValueError(name)
