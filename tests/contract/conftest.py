"""Shared by the contract tests: the plan, built once, and functions that run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import attrs
from mountsea_banana.contract import Contract
from mountsea_banana.harness.__main__ import _keys
from mountsea_banana.harness._case import Case
from mountsea_banana.harness._outcome import Outcome
from mountsea_banana.harness._plan import Plan, make_plan
from mountsea_banana.harness._run import Run
from mountsea_banana.harness._transport import Server
from mountsea_banana.mock import DEFAULT_KEYS, MockServer

from tests.contract import defects


@cache
def the_plan() -> Plan:
    return make_plan(Contract.load(), 1)


@cache
def a_small_plan() -> Plan:
    """Return about a tenth of the plan, for tests that do not need all of it."""
    plan = the_plan()
    return attrs.evolve(
        plan,
        submissions=plan.submissions[:40:2],
        groups=tuple(tuple(_some(group)) for group in plan.groups),
    )


def _some(group: Sequence[Case]) -> Iterator[Case]:
    """Yield about 60 of the cases, and one that is invalid only for each single reason.

    hypothesis also draws values from the imported modules, so the plan differs slightly between the
    processes of a test run.
    """
    yield from {
        each.expectation.reasons: each for each in group if len(each.expectation.reasons) == 1
    }.values()
    yield from group[:: 1 + len(group) // 60]


def run_against(server: MockServer, plan: Plan, **options: Any) -> Outcome:
    """Run a plan against a server, with both keys."""
    keys = _keys(*DEFAULT_KEYS)
    return Run(plan, Server(server.url, keys), has_other_key=True, **options).execute()


def server_of(name: str) -> MockServer:
    """Return the server with this name from `defects`."""
    return MockServer(app=defects.application(Contract.load(), name))
