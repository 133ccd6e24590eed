"""What the contract tests share: the plan, made once, and runs of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import attrs
from mountsea_banana.contract import Contract
from mountsea_banana.harness.__main__ import _keys
from mountsea_banana.harness._case import Case
from mountsea_banana.harness._plan import Plan, make
from mountsea_banana.harness._run import Outcome, Run
from mountsea_banana.harness._transport import Server
from mountsea_banana.mock import DEFAULT_KEYS, MockServer

from tests.contract import defects


@cache
def the_plan() -> Plan:
    return make(Contract.load(), 1)


@cache
def a_small_plan() -> Plan:
    """A tenth of the plan, for tests of what is done with it."""
    plan = the_plan()
    return attrs.evolve(
        plan,
        submissions=plan.submissions[:40:2],
        groups=tuple(tuple(_some(group)) for group in plan.groups),
    )


def _some(group: Sequence[Case]) -> Iterator[Case]:
    """Give some sixty of the cases, and one that is illegal for each reason alone.

    hypothesis draws its values from the modules that are imported, too, so that the plan is not
    quite the same in every process of a suite.
    """
    yield from {
        each.judgement.reasons: each for each in group if len(each.judgement.reasons) == 1
    }.values()
    yield from group[:: 1 + len(group) // 60]


def run_against(server: MockServer, plan: Plan, **options: Any) -> Outcome:
    """Run a plan against a server, with both keys."""
    keys = _keys(*DEFAULT_KEYS)
    return Run(plan, Server(server.url, keys), has_other_key=True, **options).go()


def server_of(name: str) -> MockServer:
    """Return the server of that name, broken or not."""
    return MockServer(app=defects.application(Contract.load(), name))
