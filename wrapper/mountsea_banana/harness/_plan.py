"""Everything that a run sends, in order. It depends only on the contract and the seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from mountsea_banana.contract import Contract, Operation, resolve

from . import _requests
from ._bodies import Bodies
from ._case import COMBINATIONS, POLLS, VALID_BODIES, Case, Request, encode
from ._generated import THOROUGH_FACTOR, generated
from ._oracle import Expectation, Verdict

TASKS_PER_OPERATION = 32
_RATIO = re.compile(r"\d+:\d+")


@frozen
class Plan:
    """The cases of a run, in groups. The same contract and seed result in the same plan."""

    contract: Contract
    seed: int
    tasks: tuple[Case, ...]
    """Submissions whose tasks are followed. They are sent first because later cases need a task."""
    submissions: tuple[Case, ...]
    """More valid requests."""
    groups: tuple[tuple[Case, ...], ...]
    polls: Mapping[str, Case]
    """A poll of a task for each operation that polls, by its name."""
    probes: tuple[Request, ...]
    """Requests that cost nothing, and get a 401 or 403 only if the key is invalid."""
    pairs: tuple[tuple[Case, Request], ...]
    """Cases, and requests to send right after each on the same connection."""

    def cases(self) -> Iterator[Case]:
        """Yield every case in sending order."""
        yield from self.tasks
        yield from self.submissions
        for group in self.groups:
            yield from group

    @property
    def size(self) -> int:
        return sum(1 for _ in self.cases())

    @property
    def cost(self) -> int:
        """The number of submissions that a server that conforms may accept and charge."""
        return sum(case.may_cost for case in self.cases())

    def poll_of(self, submission: Operation) -> Case | None:
        """Return the poll of the tasks that an operation creates, if they can be polled."""
        return self.polls.get(submission.polled_by)

    def rule_properties(self) -> dict[str, str]:
        """Return the id of each rule, and the names of the properties that it concerns."""
        return {
            rule.id: re.split(r"[.\[]", rule.place)[0]
            or " and ".join(sorted({*_properties(rule.schema)}))
            for rule in self.contract.rules
        }

    def ratios(self, operation: Operation) -> Sequence[str]:
        """Return the aspect ratios of images that a request may ask for."""
        schema = operation.request.schema if operation.request else {}
        properties = resolve(schema, self.contract.document).get("properties", {})
        return next(
            (
                values
                for values in (each.get("enum", [""]) for each in properties.values())
                if all(isinstance(value, str) and _RATIO.fullmatch(value) for value in values)
            ),
            [],
        )


def _properties(node: Any) -> Iterator[str]:
    """Yield the names of the properties that a schema mentions."""
    if isinstance(node, Mapping):
        yield from node.get("properties", {})
        yield from node.get("required", [])
    for child in (
        node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    ):
        yield from _properties(child)


def make_plan(contract: Contract, seed: int, *, thorough: bool = False) -> Plan:
    """Return the plan of a run. `thorough` generates many more bodies, which takes minutes."""
    tasks: list[Case] = []
    submissions: list[Case] = []
    valid_requests: list[tuple[Operation, Request]] = []
    groups: list[tuple[Case, ...]] = []
    repeated: list[tuple[Case, ...]] = []
    body_cases: list[Case] = []
    polls: dict[str, Case] = {}
    probes: list[Request] = []
    for operation in contract.operations:
        bodies = Bodies(contract, operation) if operation.request else None
        valid = _requests.plain(contract, operation, encode(bodies.base()) if bodies else None)
        if bodies or operation.is_poll:
            probes.append(_requests.invalid(operation, valid)[0] if bodies else valid)
        if operation.is_poll:
            expectation = Expectation(
                Verdict.ACCEPT, explanation="a task can be polled as soon as it is submitted"
            )
            polls[operation.name] = Case(POLLS, operation, valid, expectation)
        elif bodies is None:
            submissions += _valid_request(operation, valid)
        groups.append(tuple(_requests.keys(operation, valid)))
        groups.append(tuple(_requests.queries(operation, valid)))
        groups.append(tuple(_requests.parameters(operation, valid)))
        groups.append(tuple(_requests.compressed(operation, valid)))
        repeated.append(tuple(_requests.repeats(operation, valid)))
        if bodies:
            factor = THOROUGH_FACTOR if thorough else 1
            drawn = generated(contract, operation, bodies, seed, factor)
            body_cases += [*bodies.all_cases(), *drawn]
            tasks += bodies.tasks(TASKS_PER_OPERATION) if operation.is_submission else ()
        valid_requests.append((operation, valid))
        siblings = [each for each in contract.operations if each.path == operation.path]
        if operation is siblings[0]:
            groups.append(tuple(_requests.methods(siblings, valid)))
    submissions += [case for case in body_cases if case.check == VALID_BODIES]
    rest = [case for case in body_cases if case.check != VALID_BODIES]
    pairs = [
        pair
        for operation, valid in valid_requests
        for pair in _requests.pairs(operation, valid, probes[-1])
    ]
    # A random order reveals servers whose response depends on the previous request.
    random.Random(seed).shuffle(rest)  # noqa: S311
    rest.sort(key=lambda case: case.check == COMBINATIONS)
    return Plan(
        contract,
        seed,
        tuple(tasks),
        tuple(submissions),
        (*groups, tuple(rest), *repeated),
        polls,
        tuple(probes),
        tuple(pairs),
    )


def _valid_request(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield the plain request of an operation, unless a required parameter has unknown values."""
    if _requests.has_known_parameters(operation):
        explanation = "a request with every required parameter succeeds"
        expectation = Expectation(Verdict.ACCEPT, explanation=explanation)
        yield Case("valid requests", operation, valid, expectation)
