"""Servers in processes of their own, as many at a time as there are cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import attrs
import pytest
from mountsea_banana.contract import Contract
from mountsea_banana.harness.__main__ import _keys
from mountsea_banana.harness._plan import Plan, make
from mountsea_banana.harness._run import Outcome, Run
from mountsea_banana.harness._wire import Server
from mountsea_banana.mock import DEFAULT_KEYS, MockServer

from tests.contract import defects

Ran = tuple[list[str], tuple[str, ...], list[str]]


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
        groups=tuple(group[:: 1 + len(group) // 60] for group in plan.groups),
    )


def run_against(server: MockServer, plan: Plan, **options: Any) -> Outcome:
    """Run a plan against a server, with both keys."""
    keys = _keys(*DEFAULT_KEYS)
    return Run(plan, Server(server.url, keys), has_other_key=True, **options).go()


def ran(name: str, stop_at_first: bool) -> Ran:
    """Run against the server of that name; return what was found, left out, and not tested."""
    plan = the_plan()
    if not stop_at_first:  # a third of the many combinations, to save time: all are sent elsewhere
        groups = (group[::3] if len(group) > 1000 else group for group in plan.groups)
        plan = attrs.evolve(plan, groups=tuple(groups))
    with MockServer(app=defects.application(Contract.load(), name)) as server:
        outcome = run_against(server, plan, stop_at_first=stop_at_first)
    return [cause.id for cause in outcome.causes], outcome.left_out, outcome.untested_rules()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that wait for the runs come last."""
    items.sort(key=lambda item: item.path.name == "test_harness.py")


@pytest.fixture(scope="session", autouse=True)
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Ran]]]:
    """A run for each selected test that has a parameter `name`, under way."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    names = [each.params["name"] for each in params if each and "name" in each.params]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield {
            name: pool.submit(ran, name, name in defects.DEFECTS)
            for name in names
            if name in {**defects.DEFECTS, **defects.LEGAL}
        }
        pool.shutdown(cancel_futures=True)
