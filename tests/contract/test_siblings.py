"""The mock serves, and the harness tests, the vendor's other operations with YAML only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from mountsea_banana.contract import Contract, Operation, Problem
from mountsea_banana.harness import __main__ as command
from mountsea_banana.harness._plan import Plan, make_plan
from mountsea_banana.harness._run import Run
from mountsea_banana.harness._transport import Server
from mountsea_banana.mock import DEFAULT_KEYS, MockServer
from mountsea_banana.mock._api import MockAPI
from mountsea_banana.mock._app import build_app

FOLDER = Path(__file__).parent
SPEC = FOLDER / "siblings.openapi.yaml"
OVERLAY = FOLDER / "siblings.overlay.yaml"
VIDEO, MUSIC = "/gemini/video/generate", "/producer/download-video"
RULES = {
    "ingredients-need-veo31-fast",
    "img2video-needs-one-or-two-images",
    "ingredients-need-one-to-three-images",
}


@cache
def the_contract() -> Contract:
    return Contract.load(SPEC, OVERLAY)


@cache
def the_plan() -> Plan:
    plan = make_plan(the_contract(), 1)
    few = (group[:: 1 + len(group) // 400] for group in plan.groups)
    return attrs.evolve(plan, submissions=plan.submissions[::10], groups=tuple(few))


def operation(path: str) -> Operation:
    return next(each for each in the_contract().operations if each.path == path)


@pytest.mark.parametrize(
    ("body", "violated"),
    [
        ({"action": "text2video", "model": "veo2_fast"}, set()),
        ({"action": "img2video", "model": "veo2_fast", "imageList": ["a", "b"]}, set()),
        ({"action": "img2video", "model": "veo2_fast"}, {"img2video-needs-one-or-two-images"}),
        (
            {"action": "ingredients2video", "model": "veo2_fast", "imageList": ["a"]},
            {"ingredients-need-veo31-fast"},
        ),
    ],
)
def test_the_mock_enforces_the_rules_of_another_operation(
    body: dict[str, Any], violated: set[str]
) -> None:
    headers = {"Authorization": "Bearer test-token"}
    with MockServer(spec=SPEC, overlay=OVERLAY) as server:
        response = httpx.post(server.url + VIDEO, json={"prompt": "a cat", **body}, headers=headers)
    found = {each["rule"] for each in response.json().get("problems", [])}
    assert (response.status_code, found) == (400 if violated else 201, violated)


def test_a_link_says_which_operation_polls_and_the_nearest_one_does_without_a_link() -> None:
    assert operation(MUSIC).polled_by == "GET /producer/tasks"
    assert operation(VIDEO).polled_by == "GET /gemini/task/result"


def test_a_rule_added_beside_a_reference_applies_to_that_operation_only() -> None:
    assert {rule.id for rule in operation(VIDEO).rules} == RULES
    shared = the_contract().document["components"]["schemas"]["VideoDto"]["allOf"]
    assert {rule["x-rule-id"] for rule in shared} == RULES - {"ingredients-need-veo31-fast"}


def test_the_harness_passes_the_mock_of_the_other_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mountsea_banana.harness._plan.make_plan", lambda *_, **__: the_plan())
    monkeypatch.setattr("mountsea_banana.harness._outcome.MIN_CASES_PER_RULE", 1)
    monkeypatch.setenv("MOUNTSEA_API_KEY", DEFAULT_KEYS[0])
    monkeypatch.setenv("MOUNTSEA_OTHER_API_KEY", DEFAULT_KEYS[1])
    arguments = ["--spec", str(SPEC), "--overlay", str(OVERLAY), "--report", str(tmp_path)]
    with MockServer(spec=SPEC, overlay=OVERLAY) as server:
        status = command.main([*arguments, "--base-url", server.url])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_harness_names_the_rule_that_a_server_does_not_enforce(rule: str) -> None:
    class Forgiving(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            return [each for each in super().problems(operation, document) if each.rule != rule]

    app = build_app(Forgiving(the_contract(), DEFAULT_KEYS), the_contract())
    with MockServer(app=app) as server:
        outcome = Run(the_plan(), Server(server.url, command._keys(*DEFAULT_KEYS))).execute()
    assert [cause.id for cause in outcome.causes] == [f"POST {VIDEO} accepted {rule}"]
