"""Failures with one cause are reported as one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mountsea_banana.harness._case import Case
from mountsea_banana.harness._causes import group, join
from mountsea_banana.harness._failure import Failure
from mountsea_banana.harness._lifecycle import body_of
from mountsea_banana.harness._oracle import Verdict
from mountsea_banana.harness._transport import Response
from mountsea_banana.harness._verify import Violation

from tests.contract.conftest import a_small_plan, run_against, server_of, the_plan

SUBMIT = "POST /gemini/image/generate"
POLL = "GET /gemini/task/result"

CAUSES = {
    "accepts resolution with every model": [f"{SUBMIT} accepted resolution-needs-pro-or-2"],
    "accepts any model": [f"{SUBMIT} accepted model:enum"],
    "rejects pro": [f'{SUBMIT} rejected model = "nano-banana-pro"'],
    "rejects an empty list with generate": [f"{SUBMIT} rejected image_urls = []"],
    "rejects http URLs": [f"{SUBMIT} rejected image_urls with http = yes"],
    "fails on edits with 2 images": [f'{SUBMIT} failed action = "edit", num_images = 2'],
    "fails on one request in a hundred": ["every operation failed intermittently"],
    "rejects a valid key with pro": [f"{SUBMIT} key rejected"],
    "needs no key": ["every operation accepted keys: no key is needed"],
    "needs no key to poll": [f"{POLL} accepted keys: no key is needed"],
    "accepts any key": ["every operation accepted keys: any key is valid"],
    "accepts a key without a scheme": ["every operation accepted keys: the key without a scheme"],
    "shows every task to every account": [f"{POLL} accepted keys: another account's task"],
    "responds with 200 to a submission": [f"{SUBMIT} response status 200"],
    "returns an empty taskId": [f"{SUBMIT} response empty taskId"],
    "returns invalid JSON": [f"{SUBMIT} response invalid JSON"],
    "declares responses as text": ["every operation response content type"],
    "returns another taskId when polled": [f"{POLL} response wrong taskId"],
    "reuses task ids": [f"{SUBMIT} response duplicate taskId"],
    "returns a status that is not in the enum": [f"{POLL} response schema status enum"],
    "returns a malformed date": [f"{POLL} response schema createdAt format"],
    "changes a final status": [f"{POLL} response final status changed"],
    "completes without an image": [f"{POLL} response completed without an image"],
    "responds with 404 to images": [f"{POLL} response image cannot be fetched"],
    "returns image URLs on a closed port": [f"{POLL} response image cannot be fetched"],
    "serves a web page instead of an image": [f"{POLL} response not an image"],
    "serves truncated images": [f"{POLL} response image cannot be decoded"],
    "serves the previous image to every other request": [f"{POLL} response image of another task"],
    "submits by PUT": [f"{SUBMIT} submitted methods: PUT /gemini/image/generate"],
    "finds a new task only at the second poll": [f"{POLL} lost"],
    "responds with 200 and an error to invalid requests": ["every operation answered"],
    "mistakes a request for the sequel of the one before": [f"{SUBMIT} connection"],
    "accepts any URL scheme": [f"{SUBMIT} accepted image-url-is-http"],
    "finds a task by a shorter id": [f"{POLL} accepted queries: taskId={{cut_task}}"],
    "does not decode the id": [
        f"{POLL} rejected queries: every character of the id percent-encoded"
    ],
    "accepts a name that every object has as the key": [
        "every operation accepted keys: the word constructor as the key"
    ],
    "serves each image once": [f"{POLL} response image cannot be fetched again"],
    "serves images as JSON": [f"{POLL} response not an image"],
    "declares responses as compressed": [f"{POLL} response unreadable body"],
    "responds with 500 instead of 4xx": [
        "every operation failed every request that must be rejected"
    ],
}


@pytest.mark.parametrize("defect", CAUSES)
def test_each_defect_is_one_cause_per_operation(defect: str) -> None:
    with server_of(defect) as server:
        outcome = run_against(server, a_small_plan())
    assert [cause.id for cause in outcome.causes] == CAUSES[defect]


def test_failures_with_no_common_property_are_one_cause() -> None:
    valid = [case for case in the_plan().cases() if case.verdict is Verdict.ACCEPT]
    bodies = [case for case in valid if case.check == "combinations"]
    violation = Violation("rejected", "responds with 400 instead of accepting the request")
    failures = [Failure(case, Response(400), violation) for case in bodies[::2]]
    # The bodies that passed have the same features.
    causes = group(failures, bodies)
    assert [cause.id for cause in causes] == [f"{SUBMIT} rejected no common property"]
    assert len(causes[0].failures) == len(failures)


def test_failures_that_a_retry_does_not_reproduce_are_one_cause() -> None:
    bodies = [case for case in the_plan().cases() if case.check == "combinations"]
    violation = Violation("failed", "responds with 500")
    failures = [Failure(case, Response(500), violation) for case in bodies[:4]]
    causes = [each for found in (failures[:2], failures[2:]) for each in group(found, bodies)]
    (cause,) = join(cause.as_intermittent() for cause in causes)
    assert cause.id == f"{SUBMIT} failed intermittently"
    assert len(cause.failures) == len(failures)


def test_the_wrong_values_of_one_property_are_one_cause() -> None:
    cases = list(the_plan().cases())
    valid = [case for case in cases if case.verdict is Verdict.ACCEPT and case.features]
    models = {case.features["model"] for case in valid}
    rejected = Violation("rejected", "responds with 400 instead of accepting the request")
    accepted = Violation("accepted", "accepts an invalid request")
    failures = [
        Failure(case, Response(400), rejected)
        for case in valid
        if case.features["model"] == min(models)  # in quotes, which come before `absent`
    ]
    failures += [
        Failure(case, Response(201), accepted)
        for case in cases
        if case.expectation.reasons == {"model:enum"}
    ]
    failed = {id(failure.case) for failure in failures}
    causes = group(failures, [case for case in cases if id(case) not in failed])
    assert [cause.id for cause in causes] == [f"{SUBMIT} uneven model"]


def test_tasks_without_a_final_status_are_reported_as_not_tested() -> None:
    with server_of("slow tasks") as server:
        outcome = run_against(server, a_small_plan(), task_timeout=0.1)
    assert outcome.causes == ()
    assert len(outcome.skipped) == 1
    assert outcome.skipped[0].startswith("final status (")
    assert outcome.missing == "no task reached a final status"


def causes_of(**wrong: Callable[[Case], bool]) -> list[str]:
    """Return the ids of the causes if the server is wrong about these cases, by kind."""
    failures: list[Failure] = []
    passed: list[Case] = []
    for case in the_plan().cases():
        kind = next((kind for kind, is_wrong in wrong.items() if is_wrong(case)), "")
        violation = Violation(kind, f"is wrong: {kind}")
        if kind:
            failures.append(Failure(case, Response(200), violation))
        else:
            passed.append(case)
    found = group(failures, passed, the_plan().rule_properties())
    return [cause.id.removeprefix(SUBMIT).strip() for cause in found]


def is_invalid_body(case: Case) -> bool:
    is_body = case.check in ("single faults", "combinations", "generated bodies")
    return is_body and case.verdict is Verdict.REJECT


def violates(*reasons: str) -> Callable[[Case], bool]:
    return lambda case: bool(case.expectation.reasons) and case.expectation.reasons <= {*reasons}


def test_a_server_that_rejects_no_body_has_one_cause() -> None:
    def is_body(case: Case) -> bool:
        is_malformed = case.check == "malformed bodies"
        return is_invalid_body(case) or (is_malformed and case.verdict is Verdict.REJECT)

    assert causes_of(accepted=is_body) == ["accepted every invalid body"]


def test_a_property_that_is_not_checked_is_one_cause() -> None:
    wrong = violates("num_images:type", "num_images:boolean", "one-image-only")
    assert causes_of(accepted=wrong) == ["accepted num_images"]


def test_null_in_several_properties_is_one_cause() -> None:
    wrong = violates("resolution:null", "model:null", "aspect_ratio:null")
    assert causes_of(accepted=wrong) == ["accepted null in several properties"]


def test_types_that_are_not_checked_in_several_properties_are_one_cause() -> None:
    wrong = violates("image_urls:type", "image_urls:null", "prompt:type", "prompt:boolean")
    assert causes_of(accepted=wrong) == ["accepted other types in several properties"]


def test_rules_that_all_fail_are_one_cause() -> None:
    rules = [rule.id for rule in the_plan().contract.rules]
    assert causes_of(failed=violates(*rules)) == ["failed the rules from the prose"]


def test_many_kinds_of_invalid_body_are_one_cause() -> None:
    def wrong(case: Case) -> bool:
        is_raw = case.check in ("malformed bodies", "keys") and case.variant in (
            "not JSON",
            "a wrong key",
        )
        return is_raw or (is_invalid_body(case) and "action:enum" not in case.expectation.reasons)

    found = causes_of(failed=wrong)
    assert "failed many kinds of invalid body" in found


def test_values_that_are_wrongly_accepted_and_rejected_are_one_cause() -> None:
    found = causes_of(
        accepted=violates("prompt:type", "prompt:null", "prompt:boolean"),
        rejected=lambda case: (
            case.verdict is Verdict.ACCEPT and case.features.get("prompt") == '""'
        ),
    )
    assert found == ["uneven prompt"]


def test_bodies_that_are_too_large_are_one_cause() -> None:
    valid = [case for case in the_plan().cases() if case.verdict is Verdict.ACCEPT]
    passed = [case for case in valid if len(case.request.body or b"") <= 1000]
    violation = Violation("rejected", "responds with 413 instead of accepting the request")
    too_large = [case for case in valid if len(case.request.body or b"") > 1000]
    failures = [Failure(case, Response(413), violation) for case in too_large]
    (cause,) = group(failures, passed)
    assert cause.id == f"{SUBMIT} rejected long bodies"


def has_a_long_prompt(case: Case) -> bool:
    prompt = str(body_of(case.request).get("prompt"))
    return case.verdict is Verdict.ACCEPT and len(prompt) > 4000


def test_the_length_of_a_text_is_the_cause() -> None:
    found = causes_of(rejected=has_a_long_prompt)
    assert found == ["rejected prompt over 4,000 characters = yes"]


def test_the_length_and_the_type_of_a_text_are_one_cause() -> None:
    found = causes_of(rejected=has_a_long_prompt, accepted=violates("prompt:type"))
    assert found == ["uneven prompt"]


@pytest.mark.parametrize(
    "feature", ["image_urls with repeated items", "image_urls with long items"]
)
def test_what_all_rejected_lists_have_is_the_cause(feature: str) -> None:
    def is_rejected(case: Case) -> bool:
        return case.verdict is Verdict.ACCEPT and feature in case.features

    assert causes_of(rejected=is_rejected) == [f"rejected {feature} = yes"]


def test_a_property_whose_values_are_accepted_and_fail_is_one_cause() -> None:
    found = causes_of(accepted=violates("image_urls:type"), failed=violates("image_urls:null"))
    assert found == ["uneven image_urls"]


def test_a_property_and_a_key_that_fail_are_two_causes() -> None:
    found = causes_of(
        accepted=lambda case: case.variant == "the scheme Basic",
        failed=lambda case: case.variant == "the scheme Token",
    )
    assert found == [
        "every operation accepted keys: the scheme Basic",
        "every operation failed keys: the scheme Token",
    ]


def test_a_common_property_of_several_violated_rules_is_the_cause() -> None:
    def wrong(case: Case) -> bool:
        rules = violates("resolution-needs-pro-or-2", "wide-ratio-needs-2")
        return rules(case) and case.features.get("model") == "absent"

    assert causes_of(accepted=wrong) == ["accepted model = absent"]


def test_many_variants_of_malformed_bodies_are_one_cause() -> None:
    found = causes_of(accepted=lambda case: case.check == "malformed bodies")
    assert "accepted malformed bodies: several variants" in found
