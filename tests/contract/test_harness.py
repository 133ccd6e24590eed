"""The harness catches every server that breaks the contract, and passes every one that keeps it."""

from __future__ import annotations

import attrs
import pytest

from tests.contract.conftest import run_against, server_of, the_plan
from tests.contract.defects import DEFECTS, LEGAL

# The mock is sent everything elsewhere; here parts of it save time.


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_server_is_caught_where(defect: str) -> None:
    plan = attrs.evolve(the_plan(), submissions=the_plan().submissions[::10])
    with server_of(defect) as server:
        assert run_against(server, plan, stop_at_first=True).causes


@pytest.mark.parametrize("variant", LEGAL)
def test_a_server_passes_with(variant: str) -> None:
    groups = (group[::3] if len(group) > 1000 else group for group in the_plan().groups)
    plan = attrs.evolve(the_plan(), submissions=the_plan().submissions[::2], groups=tuple(groups))
    with server_of(variant) as server:
        outcome = run_against(server, plan)
    assert (outcome.causes, outcome.left_out, outcome.stopped) == ((), (), "")
    assert outcome.untested_rules() == []
