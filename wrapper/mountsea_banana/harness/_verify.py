"""Compares responses with the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from mountsea_banana.contract import Operation

from ._case import BURSTS, POLLS, REPEATS, Case
from ._oracle import Verdict
from ._transport import Response

PLAIN_POLLS = frozenset({POLLS, BURSTS, REPEATS})
NOT_FOUND = frozenset({400, 403, 404, 410, 422})


@frozen
class Violation:
    """One way in which a response violates the contract."""

    kind: str
    """A short name, such as `accepted`, `rejected`, `failed` or `response`."""
    text: str
    """What the server does, as a predicate without its subject: `responds with 500`."""
    detail: str = ""
    """For the kind `response`, a description that is the same in every run."""
    is_warning: bool = False
    """Whether it only looks wrong: the contract does not forbid it."""


def violations(case: Case, response: Response) -> Iterator[Violation]:
    """Yield every way in which the response to a case violates the contract, or looks wrong."""
    for violation in _violations(case, response):
        is_warning = violation.is_warning or (case.is_odd and violation.kind != "submitted")
        yield evolve(violation, is_warning=is_warning)


def _violations(case: Case, response: Response) -> Iterator[Violation]:
    status = response.status
    succeeded = 200 <= status < 300
    is_documented_method = case.request.method == case.operation.method
    is_error_as_success = succeeded and is_documented_method and not _succeeds(case, response)
    if status == 429:
        return  # The server is still rate limiting after all retries, which is not a violation.
    if status == 0:
        if not case.may_disconnect:
            yield Violation("no response", f"does not respond: {response.fault}")
    elif response.fault:
        yield Violation("response", f"responds with {response.fault}", "unreadable body")
    elif status >= 500 and status not in case.rejection_statuses:
        yield Violation("failed", f"responds with {status}")
    elif case.verdict is Verdict.REJECT:
        if is_error_as_success:
            yield Violation("answered", f"responds with {status} to a request that it refuses")
        elif succeeded:
            yield Violation("accepted", f"responds with {status} instead of rejecting the request")
        elif status == 401 and status not in case.rejection_statuses:
            yield Violation("key rejected", "responds with 401 to a valid key")
        elif status not in case.rejection_statuses:
            expected = "401 or 403" if 401 in case.rejection_statuses else "a 4xx status"
            text = f"responds with {status} instead of {expected}"
            yield Violation("wrong status", text, is_warning=400 <= status < 500)
    elif case.verdict is Verdict.UNSPECIFIED and is_error_as_success:
        yield Violation("answered", f"responds with {status} to a request that it refuses")
    elif case.check in PLAIN_POLLS and case.operation.is_poll and status in NOT_FOUND:
        yield Violation("lost", f"responds with {status} to a poll of a task that it has created")
    elif not is_documented_method:
        if succeeded and submits(case, response):
            method = case.request.method
            yield Violation("submitted", f"creates a task by {method}, which is undocumented")
    elif status == 401:
        yield Violation("key rejected", "responds with 401 to a valid key")
    elif case.verdict is Verdict.ACCEPT and not succeeded:
        yield Violation("rejected", f"responds with {status} instead of accepting the request")
    elif succeeded:
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


def _succeeds(case: Case, response: Response) -> bool:
    """Return whether the body of a 2xx response is a success, and not an error in disguise."""
    body = read_object(response)
    expects_fields = case.operation.is_submission or case.operation.is_poll
    return not expects_fields or bool(body.keys() & {"taskId", "status"}) or not body


def submits(case: Case, response: Response) -> bool:
    """Return whether a response says that the request created a task."""
    if case.request.method in ("HEAD", "OPTIONS") or not 200 <= response.status < 300:
        return False
    body = read_object(response)
    return case.operation.is_submission and isinstance(body.get("taskId"), str)


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
