"""Bodies that schemathesis generates: valid, invalid, and with one violated rule each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case as GeneratedCase
from schemathesis import GenerationMode

from mountsea_banana.contract import RULE_ID, Contract, Operation

from ._bodies import Bodies
from ._cache import cached
from ._case import GENERATED, Case

# Generated bodies only supplement the enumerated ones, so a few dozen are enough.
EXAMPLES = 40
EXAMPLES_PER_RULE = 30
THOROUGH_FACTOR = 25

# Bodies are drawn before anything is sent, so slow or heavily filtered draws do no harm.
_NO_HEALTH_CHECKS = (
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
)


def generated(
    contract: Contract, operation: Operation, bodies: Bodies, number: int, factor: int
) -> Iterator[Case]:
    """Yield the generated cases of an operation; `number` is the seed."""
    plain = _document(contract)
    runs = [(plain, mode, EXAMPLES) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    runs += [
        (_violating(plain, rule.id), GenerationMode.POSITIVE, EXAMPLES_PER_RULE)
        for rule in (operation.request.rules if operation.request else ())
    ]
    for document, mode, count in runs:
        draw = partial(_draw, document, operation, mode, count * factor, number)
        for body in cached(draw, document, operation.name, mode.value, count * factor, number):
            yield bodies.case(GENERATED, body)


def _draw(
    document: dict[str, Any], operation: Operation, mode: GenerationMode, count: int, number: int
) -> list[Any]:
    """Return generated bodies, the same for the same seed."""
    schema = schemathesis.openapi.from_dict(document)
    strategy = schema[operation.path][operation.method].as_strategy(generation_mode=mode)
    bodies: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=_NO_HEALTH_CHECKS,
    )
    @given(strategy)
    def collect(case: GeneratedCase[Any]) -> None:
        if isinstance(case.body, dict | list | str | int | float | None):
            bodies.append(case.body)

    collect()
    return bodies


def _document(contract: Contract) -> dict[str, Any]:
    """Return the contract without its security, so that schemathesis makes only bodies invalid."""
    document = copy.deepcopy(dict(contract.document))
    document.pop("security", None)
    for item in document["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                operation.pop("security", None)
    return document


def _violating(node: Any, rule: str) -> Any:
    """Return a contract whose valid bodies violate one rule and conform to all others.

    If the generator cannot negate a rule, the overlay supplies `x-broken-by`: a schema of values
    that violate the rule.
    """
    if isinstance(node, list):
        return [_violating(child, rule) for child in node]
    if not isinstance(node, dict):
        return node
    if node.get(RULE_ID) == rule:
        return node.get("x-broken-by", {"not": node})
    return {name: _violating(child, rule) for name, child in node.items()}
