"""Finds the smallest request that still fails, by sending smaller ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve

from mountsea_banana.contract import Contract, resolve

from ._case import Case, encode, features
from ._failure import Failure
from ._oracle import Oracle

MAX_ATTEMPTS = 50

Body = dict[str, Any]


def shrink(
    failure: Failure, contract: Contract, retry: Callable[[Case], Failure | None]
) -> Failure:
    """Return a failure of the same kind whose body has nothing that is not needed for it.

    `retry` sends a case and returns its failure, if it fails. Every body that it sends violates the
    same rules and keywords as the original, so a submission that conforms may be accepted.
    """
    operation, body = failure.case.operation, _body_of(failure.case)
    if operation.request is None or body is None:
        return failure
    oracle = Oracle(contract, operation)
    properties = resolve(operation.request.schema, contract.document).get("properties", {})
    attempts = 0
    candidates = _smaller(body)
    while (candidate := next(candidates, None)) is not None and attempts < MAX_ATTEMPTS:
        expectation = oracle(candidate)
        old = failure.case.expectation
        if (expectation.verdict, expectation.reasons) != (old.verdict, old.reasons):
            continue
        attempts += 1
        smaller = retry(
            evolve(
                failure.case,
                request=evolve(failure.case.request, body=encode(candidate)),
                expectation=expectation,
                features=features(candidate, properties),
            )
        )
        if smaller and smaller.violation.kind == failure.violation.kind:
            failure, candidates = smaller, _smaller(candidate)
    return failure


def _body_of(case: Case) -> Body | None:
    """Return the JSON object in a request body, unless its encoding may be what matters."""
    try:
        body = json.loads(case.request.body or b"")
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and encode(body) == case.request.body else None


def _smaller(body: Body) -> Iterator[Body]:
    """Yield the body without each of its properties, and without each item of its lists."""
    for name, value in body.items():
        yield {key: each for key, each in body.items() if key != name}
        for position in range(len(value)) if isinstance(value, list) else ():
            yield {**body, name: value[:position] + value[position + 1 :]}
