"""The harness fails every server that violates the contract and passes every one that conforms."""

from __future__ import annotations

import attrs
import pytest

from tests.contract.conftest import a_small_plan, run_against, server_of, the_plan
from tests.contract.defects import CONFORMING, DEFECTS, WARNED

# Another test sends the whole plan to the mock. A part of it saves time here.


@pytest.mark.parametrize("defect", DEFECTS)
def test_finds_a_server_that(defect: str) -> None:
    plan = attrs.evolve(the_plan(), submissions=the_plan().submissions[::10])
    with server_of(defect) as server:
        assert run_against(server, plan, fail_fast=True).causes


@pytest.mark.parametrize("variant", CONFORMING)
def test_passes_a_server_with(variant: str) -> None:
    groups = (group[::3] if len(group) > 1000 else group for group in the_plan().groups)
    plan = attrs.evolve(the_plan(), submissions=the_plan().submissions[::2], groups=tuple(groups))
    with server_of(variant) as server:
        outcome = run_against(server, plan)
    assert outcome.warnings == ()
    assert (outcome.causes, outcome.skipped, outcome.stopped) == ((), (), "")
    assert outcome.untested_rules() == []


@pytest.mark.parametrize("variant", WARNED)
def test_warns_of_a_server_that(variant: str) -> None:
    odd = tuple(case for case in the_plan().cases() if case.is_odd)
    plan = attrs.evolve(a_small_plan(), groups=(*a_small_plan().groups, odd))
    with server_of(variant) as server:
        outcome = run_against(server, plan)
    assert outcome.causes == ()
    assert outcome.warnings
