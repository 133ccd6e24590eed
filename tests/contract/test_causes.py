"""What the harness says of a server: failures of one cause are one."""

from __future__ import annotations

import pytest
from mountsea_banana.harness._causes import Failure, group
from mountsea_banana.harness._oracle import Verdict
from mountsea_banana.harness._transport import Answer
from mountsea_banana.harness._verify import Complaint

from tests.contract.conftest import a_small_plan, run_against, server_of, the_plan

SUBMIT = "POST /gemini/image/generate"
LOOK = "GET /gemini/task/result"

CAUSES = {
    "resolution is accepted with every model": [f"{SUBMIT} accepted resolution-needs-pro-or-2"],
    "any model is accepted": [f"{SUBMIT} accepted model:enum"],
    "pro is refused": [f'{SUBMIT} refused model = "nano-banana-pro"'],
    "an empty list is refused with generate": [f"{SUBMIT} refused image_urls = []"],
    "http addresses are refused": [
        f'{SUBMIT} refused image_urls[0] = "http://example.com/image2.png"'
    ],
    "2 images and edit fail": [f'{SUBMIT} failed action = "edit", num_images = 2'],
    "one request in a hundred fails": [
        f"{LOOK} failed now and then",
        f"{SUBMIT} failed now and then",
    ],
    "a missing key is answered 404": [
        f"{LOOK} refused oddly keys, in many ways",
        f"{SUBMIT} refused oddly keys, in many ways",
    ],
    "the right key is refused with pro": [
        f'{SUBMIT} key refused model = "nano-banana-pro"',
        f'{SUBMIT} refused oddly model = "nano-banana-pro"',
    ],
    "no key is needed to look": [f"{LOOK} accepted keys, in many ways"],
    "no scheme will do": [
        f"{LOOK} accepted keys: the key without a scheme",
        f"{SUBMIT} accepted keys: the key without a scheme",
    ],
    "every account sees every task": [f"{LOOK} accepted keys: another account's task"],
    "a submission is answered 200": [f"{SUBMIT} answer status 200"],
    "the task id is empty": [f"{SUBMIT} answer empty taskId"],
    "the answers are no JSON": [f"{SUBMIT} answer no JSON"],
    "answers are said to be text": [f"{LOOK} answer content type", f"{SUBMIT} answer content type"],
    "the task id is not echoed": [f"{LOOK} answer another taskId"],
    "one id for every task": [f"{SUBMIT} answer a taskId twice"],
    "a status that the enum lacks": [f"{LOOK} answer schema status enum"],
    "a date is none": [f"{LOOK} answer schema createdAt format"],
    "a status goes back": [f"{LOOK} answer a status went back"],
    "a final status changes": [f"{LOOK} answer a final status changed"],
    "completed without a picture": [f"{LOOK} answer completed without a picture"],
    "pictures are gone": [f"{LOOK} answer a picture cannot be fetched"],
    "pictures are nowhere": [f"{LOOK} answer a picture cannot be fetched"],
    "pictures are pages": [f"{LOOK} answer a picture is none"],
}


@pytest.mark.parametrize("defect", CAUSES)
def test_the_failures_of_one_defect_are_one_cause_an_operation(defect: str) -> None:
    with server_of(defect) as server:
        outcome = run_against(server, a_small_plan())
    assert [cause.id for cause in outcome.causes] == CAUSES[defect]


def test_failures_with_nothing_in_common_are_one_cause() -> None:
    legal = [case for case in the_plan().cases() if case.verdict is Verdict.ACCEPT]
    bodies = [case for case in legal if case.check == "combinations"]
    refused = Complaint("refused", "answers 400, and should accept")
    failures = [Failure(case, Answer(400), refused) for case in bodies[::2]]
    # The bodies that passed have the same features.
    causes = group(failures, bodies)
    assert [cause.id for cause in causes] == [f"{SUBMIT} refused no common property"]
    assert len(causes[0].failures) == len(failures)


def test_tasks_that_stay_open_are_said_to_be_left_out() -> None:
    with server_of("tasks that take long") as server:
        outcome = run_against(server, a_small_plan(), seconds_of_life=0.1)
    assert outcome.causes == ()
    assert outcome.left_out == ("20 times the end of a task: it was not final in 0.1 s",)
