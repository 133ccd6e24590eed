"""Compares answers with what the contract says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from mountsea_banana.contract import Operation

from ._case import Case
from ._oracle import Verdict
from ._transport import Answer


@frozen
class Complaint:
    """One way in which an answer breaks the contract."""

    kind: str
    """What happened, in a word or two, such as `accepted`, `refused`, `failed`, `answer`."""
    text: str
    """What happened, as a sentence's end: `accepts a body that ...`."""
    detail: str = ""
    """For a wrong answer: what is wrong with it, in words that stay the same."""


def complaints(case: Case, answer: Answer) -> Iterator[Complaint]:
    """Give every way in which the answer to a case breaks the contract."""
    status = answer.status
    succeeded = 200 <= status < 300
    is_the_operation = case.request.method == case.operation.method
    if status == 429:
        return  # the server asked for patience, and was given some: no verdict
    if status == 0:
        if not case.may_drop:
            yield Complaint("silent", f"gives no answer: {answer.fault}")
    elif status >= 500 and status not in case.refusals:
        yield Complaint("failed", f"answers {status}")
    elif case.verdict is Verdict.REJECT:
        if succeeded:
            yield Complaint("accepted", f"answers {status}, and should refuse")
        elif status not in case.refusals:
            wanted = "401 or 403" if 401 in case.refusals else "a 4xx"
            yield Complaint("refused oddly", f"answers {status}, where {wanted} refuses")
    elif status == 401 and is_the_operation:
        yield Complaint("key refused", "answers 401 to the right key")
    elif case.verdict is Verdict.ACCEPT and not succeeded:
        yield Complaint("refused", f"answers {status}, and should accept")
    elif succeeded and is_the_operation:
        yield from wrong_answer(case.operation, answer)


def wrong_answer(operation: Operation, answer: Answer) -> Iterator[Complaint]:
    """Give every way in which a success is not the one that the operation documents."""
    if answer.status != operation.success_status:
        text = f"answers {answer.status}; its success is {operation.success_status}"
        yield Complaint("answer", text, f"status {answer.status}")
    if operation.success is None:
        return
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        text = f"answers with the content type {media_type!r}, not application/json"
        yield Complaint("answer", text, "content type")
    try:
        value = json.loads(answer.body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        text = f"answers with a body that is no JSON ({type(error).__name__})"
        yield Complaint("answer", text, "no JSON")
        return
    for problem in operation.success.problems(value):
        place = problem.field or "the body"
        text = f"answers with a body that breaks its schema: {place}: {problem.message:.150}"
        yield Complaint("answer", text, f"schema {place} {problem.rule}")
    task_id = value.get("taskId") if isinstance(value, dict) else None
    if isinstance(task_id, str) and not task_id.strip():
        yield Complaint("answer", "answers with an empty taskId", "empty taskId")


def read_object(answer: Answer) -> dict[str, Any]:
    """Return the JSON object in an answer; empty where it holds none."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
