"""Everything that a run sends, in order. It depends only on the contract and the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import attrs
from attrs import frozen

from mountsea_banana.contract import Contract, Operation

from . import _requests
from ._bodies import Bodies
from ._case import COMBINATIONS, POLLS, VALID_BODIES, Case, Request, encode
from ._generated import THOROUGH_FACTOR, generated
from ._oracle import Expectation, Verdict

# A rule counts as untested if fewer of the bodies sent violate that rule and nothing else.
MIN_CASES_PER_RULE = 20


@frozen
class Plan:
    """The cases of a run, in groups. The same contract and seed result in the same plan."""

    contract: Contract
    seed: int
    submissions: tuple[Case, ...]
    """Small valid bodies. They are sent first because later cases need a task."""
    groups: tuple[tuple[Case, ...], ...]
    poll: Case | None
    """A poll of a task; None if the spec has no operation that polls."""
    probes: tuple[Request, ...]
    """Requests that cost nothing, and get a 401 or 403 only if the key is invalid."""

    def cases(self) -> Iterator[Case]:
        """Yield every case in sending order."""
        yield from self.submissions
        for group in self.groups:
            yield from group

    @property
    def size(self) -> int:
        return sum(1 for _ in self.cases())


def make_plan(contract: Contract, seed: int, *, thorough: bool = False) -> Plan:
    """Return the plan of a run. `thorough` generates many more bodies, which takes minutes."""
    submissions: list[Case] = []
    groups: list[tuple[Case, ...]] = []
    repeated: list[tuple[Case, ...]] = []
    body_cases: list[Case] = []
    poll: Case | None = None
    probes: list[Request] = []
    for operation in contract.operations:
        bodies = Bodies(contract, operation) if operation.request else None
        valid = _requests.plain(contract, operation, encode(bodies.base()) if bodies else None)
        if bodies or operation.is_poll:
            probes.append(attrs.evolve(valid, body=b"{}" if bodies else None))
        if operation.is_poll:
            expectation = Expectation(
                Verdict.ACCEPT, explanation="a task can be polled as soon as it is submitted"
            )
            poll = Case(POLLS, operation, valid, expectation)
        elif bodies is None:
            submissions += _valid_request(operation, valid)
        groups.append(tuple(_requests.keys(operation, valid)))
        groups.append(tuple(_requests.queries(operation, valid)))
        repeated.append(tuple(_requests.repeats(operation, valid)))
        if bodies:
            factor = THOROUGH_FACTOR if thorough else 1
            drawn = generated(contract, operation, bodies, seed, factor)
            body_cases += [*bodies.all_cases(), *drawn]
    paths = dict.fromkeys(operation.path for operation in contract.operations)
    groups += [tuple(_requests.methods(contract, path)) for path in paths]
    submissions += [case for case in body_cases if case.check == VALID_BODIES]
    rest = [case for case in body_cases if case.check != VALID_BODIES]
    # A random order reveals servers whose response depends on the previous request.
    random.Random(seed).shuffle(rest)  # noqa: S311
    rest.sort(key=lambda case: case.check == COMBINATIONS)
    return Plan(
        contract, seed, tuple(submissions), (*groups, tuple(rest), *repeated), poll, tuple(probes)
    )


def _valid_request(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield the plain request of an operation, unless a required parameter has unknown values."""
    if all(
        not parameter.is_required or "enum" in parameter.schema
        for parameter in operation.parameters
    ):
        explanation = "a request with every required parameter succeeds"
        expectation = Expectation(Verdict.ACCEPT, explanation=explanation)
        yield Case("valid requests", operation, valid, expectation)
