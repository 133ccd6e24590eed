"""A server keeps the contract: what it accepts, what it refuses, and how a task lives."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mountsea_banana.contract import Contract
from schemathesis import Case, GenerationMode

pytestmark = pytest.mark.usefixtures("api")

SUBMIT = "/gemini/image/generate"
LOOK = "/gemini/task/result"
REFUSED = (400, 413, 415, 422)
RULE_IDS = [rule.id for rule in Contract.load().rules]

# Addresses that are URIs and break the rule: the generator does not find them in `not: pattern`.
NO_WEB_ADDRESS = {
    "required": ["image_urls"],
    "properties": {
        "image_urls": {
            "type": "array",
            "minItems": 1,
            "items": {
                "enum": ["ftp://example.com/a.png", "http:///a.png", "https://:80/", "data:,a"]
            },
        }
    },
}

thorough = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def cases(
    document: Mapping[str, Any], mode: GenerationMode, path: str = SUBMIT, method: str = "POST"
) -> st.SearchStrategy[Case[Any]]:
    schema = schemathesis.openapi.from_dict(dict(document))
    return schema[path][method].as_strategy(generation_mode=mode)


def breaking(document: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """Return the contract whose legal bodies break one rule and keep all others."""
    derived: dict[str, Any] = copy.deepcopy(dict(document))
    schema = derived["components"]["schemas"]["NanoImageDto"]
    schema["allOf"] = [
        NO_WEB_ADDRESS
        if rule == "image-url-is-http" and part["x-rule-id"] == rule
        else {"not": part}
        if part["x-rule-id"] == rule
        else part
        for part in schema["allOf"]
    ]
    return derived


def send(case: Case[Any], base_url: str, key: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"}
    answer = case.call(base_url=base_url, headers=headers)
    curl = case.as_curl_command(headers={"Authorization": "Bearer $MOUNTSEA_API_KEY"})
    return answer.status_code, f"{answer.status_code}: {answer.text[:300]}\n{curl}"


def test_every_legal_body_is_accepted(contract: Contract, base_url: str, key: str) -> None:
    @thorough
    @given(cases(contract.document, GenerationMode.POSITIVE))
    def legal(case: Case[Any]) -> None:
        status, said = send(case, base_url, key)
        assert status == 201, said

    legal()


def test_every_illegal_body_is_refused(contract: Contract, base_url: str, key: str) -> None:
    # Without the security, which is tested apart, only bodies are made illegal.
    document = copy.deepcopy(dict(contract.document))
    del document["paths"][SUBMIT]["post"]["security"]

    @thorough
    @given(cases(document, GenerationMode.NEGATIVE))
    def illegal(case: Case[Any]) -> None:
        status, said = send(case, base_url, key)
        assert status in REFUSED, said

    illegal()


@pytest.mark.parametrize("rule", RULE_IDS)
def test_a_body_that_breaks_one_rule_alone_is_refused(
    contract: Contract, base_url: str, key: str, rule: str
) -> None:
    @thorough
    @given(cases(breaking(contract.document, rule), GenerationMode.POSITIVE))
    def broken(case: Case[Any]) -> None:
        assert [found.id for found in contract.broken_rules(case.body)] == [rule]
        status, said = send(case, base_url, key)
        assert status in REFUSED, said

    broken()


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic {key}", "{key}"]
)
@pytest.mark.parametrize(("method", "path"), [("POST", SUBMIT), ("GET", LOOK)])
def test_no_operation_answers_without_the_right_key(
    base_url: str, key: str, authorization: str | None, method: str, path: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.format(key=key)}
    body = {"prompt": "a cat", "action": "generate"} if method == "POST" else None
    answer = httpx.request(
        method, base_url + path, params={"taskId": "x"}, json=body, headers=headers
    )
    assert answer.status_code in (401, 403)


def test_a_task_lives_from_its_submission_to_a_picture(
    api: httpx.Client, contract: Contract
) -> None:
    submit, look = contract.operations
    assert submit.success is not None
    assert look.success is not None
    submitted = api.post(SUBMIT, json={"prompt": "a cat", "action": "generate"})
    assert submitted.status_code == submit.success_status
    assert submit.success.is_valid(submitted.json())
    task_id = submitted.json()["taskId"]
    order = ["pending", "ready", "assigned", "processing", "completed"]
    seen: list[str] = []
    final: dict[str, Any] = {}
    while (not seen or seen[-1] in order[:-1]) and len(seen) < 100:
        answer = api.get(LOOK, params={"taskId": task_id})
        assert answer.status_code == look.success_status
        assert list(look.success.problems(answer.json())) == []
        assert answer.json()["taskId"] == task_id
        seen.append(answer.json()["status"])
        final = answer.json()
    assert seen == sorted(seen, key=order.index)
    assert seen[-1] == "completed"
    assert api.get(LOOK, params={"taskId": task_id}).json() == final
    picture = httpx.get(final["result"]["imageUrls"][0])
    assert picture.status_code == 200
    assert picture.headers["content-type"].startswith("image/")


@pytest.mark.parametrize("params", [{}, {"taskId": ""}, {"taskId": "unknown"}, {"taskId": "\0'%"}])
def test_a_task_that_is_not_there_is_refused(api: httpx.Client, params: dict[str, str]) -> None:
    assert api.get(LOOK, params=params).status_code in (400, 404, 422)
