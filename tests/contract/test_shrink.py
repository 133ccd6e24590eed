"""The reported request has nothing that is not needed to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from mountsea_banana.harness import _shrink
from mountsea_banana.harness._bodies import Bodies
from mountsea_banana.harness._case import Case, encode
from mountsea_banana.harness._failure import Failure
from mountsea_banana.harness._shrink import shrink
from mountsea_banana.harness._transport import Response
from mountsea_banana.harness._verify import Violation

from tests.contract.conftest import run_against, server_of, the_plan

URL = "https://example.com/a.png"
BODY = {
    "prompt": "a cat",
    "action": "generate",
    "model": "nano-banana-2",
    "image_urls": [URL, f"{URL}?2", f"{URL}?3"],
    "num_images": 1,
}
CONTRACT = the_plan().contract


def failure(body: Any) -> Failure:
    case = Bodies(CONTRACT, CONTRACT.operations[0]).case("single faults", body)
    return Failure(case, Response(500), Violation("failed", "responds with 500"))


def fails_if(condition: Callable[[Any], bool]) -> Callable[[Case], Failure | None]:
    def retry(case: Case) -> Failure | None:
        body = json.loads(case.request.body or b"")
        return attrs.evolve(failure(BODY), case=case) if condition(body) else None

    return retry


def test_what_the_failure_does_not_need_is_removed() -> None:
    found = shrink(
        failure(BODY), CONTRACT, fails_if(lambda b: f"{URL}?2" in b.get("image_urls", []))
    )
    body = {"prompt": "a cat", "action": "generate", "image_urls": [f"{URL}?2"]}
    assert found.case.request.body == encode(body)
    assert found.case.features["num_images"] == "absent"


def test_the_body_keeps_what_it_violates() -> None:
    invalid = {**BODY, "model": "nano-banana-pro", "aspect_ratio": "8:1"}
    found = shrink(failure(invalid), CONTRACT, fails_if(lambda _: True))
    assert found.case.expectation.violated_rules == ("wide-ratio-needs-2",)
    assert json.loads(found.case.request.body or b"") == {
        "prompt": "a cat",
        "action": "generate",
        "aspect_ratio": "8:1",
    }


def test_another_kind_of_failure_is_not_the_same() -> None:
    def retry(case: Case) -> Failure:
        return attrs.evolve(failure(BODY), case=case, violation=Violation("rejected", "rejects"))

    first = failure(BODY)
    assert shrink(first, CONTRACT, retry) is first


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{ "prompt": "a cat" }', b'{"prompt":"\\ud800"}', None]
)
def test_a_body_whose_form_may_matter_stays_as_it_is(body: bytes | None) -> None:
    first = failure(BODY)
    case = attrs.evolve(first.case, request=attrs.evolve(first.case.request, body=body))
    first = attrs.evolve(first, case=case)
    assert shrink(first, CONTRACT, fails_if(lambda _: True)) is first


def test_a_request_without_a_body_stays_as_it_is() -> None:
    poll = CONTRACT.operations[1]
    first = failure(BODY)
    first = attrs.evolve(first, case=attrs.evolve(first.case, operation=poll))
    assert shrink(first, CONTRACT, fails_if(lambda _: True)) is first


def test_the_number_of_attempts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shrink, "MAX_ATTEMPTS", 3)
    sent: list[Any] = []

    def retry(case: Case) -> None:
        sent.append(case)

    shrink(failure(BODY), CONTRACT, retry)
    assert len(sent) == 3


def test_a_run_reports_the_shrunk_request() -> None:
    plan = the_plan()
    largest = max(
        (each for each in plan.submissions if each.features.get("aspect_ratio") == '"5:4"'),
        key=lambda each: len(each.request.body or b""),
    )
    plan = attrs.evolve(plan, tasks=(), submissions=(largest,), groups=(), pairs=())
    with server_of("rejects 5:4") as server:
        (cause,) = run_against(server, plan).causes
    body = json.loads(cause.smallest.case.request.body or b"")
    assert body.keys() == {"prompt", "action", "aspect_ratio"}
    assert cause.smallest.response.status == 400
    assert len(cause.failures) == 1
