"""Bodies that schemathesis makes of the contract: legal, illegal, and breaking one rule each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case as GeneratedCase
from schemathesis import GenerationMode

from mountsea_banana.contract import RULES_SCHEMA, Contract, Operation

from ._bodies import Bodies
from ._case import Case

# Enough to try what nobody thought of; what somebody did think of is enumerated.
EXAMPLES = 40
EXAMPLES_A_RULE = 30
THOROUGH = 25

# The answers are not waited for while bodies are drawn: no draw is too slow or filters too much.
_NO_HEALTH_CHECKS = (
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
)


def generated(
    contract: Contract, operation: Operation, bodies: Bodies, number: int, factor: int
) -> Iterator[Case]:
    """Give the generated cases of an operation; `number` is the seed."""
    plain = _document(contract)
    runs = [(plain, mode, EXAMPLES) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    if operation.has_rules:
        runs += [
            (_breaking(plain, rule.id), GenerationMode.POSITIVE, EXAMPLES_A_RULE)
            for rule in contract.rules
        ]
    for document, mode, count in runs:
        for body in _draw(document, operation, mode, count * factor, number):
            yield bodies.case("generated bodies", body)


def _draw(
    document: dict[str, Any], operation: Operation, mode: GenerationMode, count: int, number: int
) -> list[Any]:
    """Return the bodies that schemathesis makes, the same for the same seed."""
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
    """Return the contract without its security, so that only bodies are made illegal."""
    document = copy.deepcopy(dict(contract.document))
    document.pop("security", None)
    for item in document["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                operation.pop("security", None)
    return document


def _breaking(document: dict[str, Any], rule: str) -> dict[str, Any]:
    """Return the contract whose legal bodies break one rule and keep all others.

    A rule whose negation the generator cannot solve brings `x-broken-by`, a schema of values
    that break it.
    """
    derived = copy.deepcopy(document)
    schema = derived["components"]["schemas"][RULES_SCHEMA]
    schema["allOf"] = [
        part.get("x-broken-by", {"not": part}) if part.get("x-rule-id") == rule else part
        for part in schema["allOf"]
    ]
    return derived
