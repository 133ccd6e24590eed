"""The contract tests raise no false alarm on honest servers in real frameworks."""

from __future__ import annotations

import pytest
from mountsea_banana.harness.__main__ import _keys
from mountsea_banana.harness._run import Run
from mountsea_banana.harness._transport import Server

from tests.contract.conftest import a_small_plan
from tests.servers import DEFECTS, PYTHON_NAMES, running, source

KEYS = _keys("test-token", "other-token")


@pytest.mark.parametrize("name", PYTHON_NAMES)
def test_an_honest_server_passes(name: str) -> None:
    with running(name) as url:
        outcome = Run(a_small_plan(), Server(url, KEYS), has_other_key=True).execute()
    assert [cause.title for cause in outcome.causes] == []
    assert outcome.missing == ""


def test_a_mistake_is_found() -> None:
    with running("plain", "shows tasks to other accounts") as url:
        outcome = Run(a_small_plan(), Server(url, KEYS), has_other_key=True).execute()
    found = ["GET /gemini/task/result accepted keys: another account's task"]
    assert [cause.id for cause in outcome.causes] == found


@pytest.mark.parametrize("name", DEFECTS)
def test_every_mistake_fits_its_server(name: str) -> None:
    for defect in DEFECTS[name]:
        path, text = source(name, defect.title)
        if path.suffix == ".py":
            compile(text, path, "exec")
