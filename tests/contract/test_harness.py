"""The harness catches every server that breaks the contract, and passes every one that keeps it."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.contract.conftest import Ran
from tests.contract.defects import DEFECTS, LEGAL


@pytest.mark.parametrize("name", DEFECTS)
def test_a_server_is_caught_where(name: str, runs: dict[str, Future[Ran]]) -> None:
    causes, _, _ = runs[name].result()
    assert causes


@pytest.mark.parametrize("name", LEGAL)
def test_a_server_passes_with(name: str, runs: dict[str, Future[Ran]]) -> None:
    causes, left_out, untested_rules = runs[name].result()
    assert (causes, left_out, untested_rules) == ([], (), [])
