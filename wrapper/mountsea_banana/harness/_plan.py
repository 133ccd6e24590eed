"""Everything that a run sends, in order, made of the contract alone."""

from __future__ import annotations

import random
from collections.abc import Iterator

import attrs
from attrs import frozen

from mountsea_banana.contract import Contract, Operation

from . import _requests
from ._bodies import Bodies
from ._case import Case, Request, encode
from ._generated import THOROUGH, generated
from ._oracle import Judgement, Verdict

# A run that sent fewer bodies that break a rule and nothing else has not tested the rule.
MIN_CASES_A_RULE = 20


@frozen
class Plan:
    """The cases of a run, group by group; the same for the same contract and seed."""

    contract: Contract
    seed: int
    submissions: tuple[Case, ...]
    """Small legal bodies: the first to be sent, since later cases need a task."""
    groups: tuple[tuple[Case, ...], ...]
    look: Case | None
    """A look at a task; None where no operation of the spec does that."""
    probes: tuple[Request, ...]
    """Requests that cost nothing and, with the right key, are not answered 401 or 403."""

    def cases(self) -> Iterator[Case]:
        """Give every case, in the order of sending."""
        yield from self.submissions
        for group in self.groups:
            yield from group

    @property
    def size(self) -> int:
        return sum(1 for _ in self.cases())


def make(contract: Contract, seed: int, *, thorough: bool = False) -> Plan:
    """Return what a run sends. `thorough` draws many more bodies, and takes minutes."""
    submissions: list[Case] = []
    groups: list[tuple[Case, ...]] = []
    repeated: list[tuple[Case, ...]] = []
    bodies: list[Case] = []
    look: Case | None = None
    probes: list[Request] = []
    for operation in contract.operations:
        made = Bodies(contract, operation) if operation.request else None
        good = _requests.plain(contract, operation, encode(made.base()) if made else None)
        if made or operation.is_poll:
            probes.append(attrs.evolve(good, body=b"{}" if made else None))
        if operation.is_poll:
            says = Judgement(Verdict.ACCEPT, says="a submitted task is there at once")
            look = Case("tasks", operation, good, says)
        elif made is None:
            submissions += _open(operation, good)
        groups.append(tuple(_requests.keys(operation, good)))
        groups.append(tuple(_requests.queries(operation, good)))
        repeated.append(tuple(_requests.repeats(operation, good)))
        if made:
            drawn = generated(contract, operation, made, seed, THOROUGH if thorough else 1)
            bodies += [*made.all(), *drawn]
    paths = dict.fromkeys(operation.path for operation in contract.operations)
    groups += [tuple(_requests.methods(contract, path)) for path in paths]
    submissions += [case for case in bodies if case.check == "legal bodies"]
    rest = [case for case in bodies if case.check != "legal bodies"]
    # In a random order a server that remembers what it saw last is found out.
    random.Random(seed).shuffle(rest)  # noqa: S311
    rest.sort(key=lambda case: case.check == "combinations")
    return Plan(
        contract, seed, tuple(submissions), (*groups, tuple(rest), *repeated), look, tuple(probes)
    )


def _open(operation: Operation, good: Request) -> Iterator[Case]:
    """Give the plain request of an operation whose parameters any value fits."""
    if all(
        not parameter.is_required or "enum" in parameter.schema
        for parameter in operation.parameters
    ):
        says = "a request with every parameter that is required succeeds"
        yield Case("legal requests", operation, good, Judgement(Verdict.ACCEPT, says=says))
