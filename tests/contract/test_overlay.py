"""An overlay changes any part of a spec, and adds rules to any of its schemas."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest
from mountsea_banana.contract import Contract, ContractError
from mountsea_banana.harness import __main__ as command
from mountsea_banana.harness._outcome import Outcome
from mountsea_banana.harness._plan import make_plan
from mountsea_banana.harness._run import Run
from mountsea_banana.harness._transport import Server
from mountsea_banana.mock import DEFAULT_KEYS, MockServer
from mountsea_banana.mock._api import MockAPI
from mountsea_banana.mock._app import build_app, create_app

JSON = "application/json"
SENTENCE = "It says so here"
SPEC: dict[str, Any] = {
    "openapi": "3.0.0",
    "info": {"title": "Lists", "version": "1", "description": f"{SENTENCE}."},
    "tags": [{"name": "old"}, {"name": "older"}, {"name": "new"}],
    "paths": {
        "/lists": {
            "get": {
                "operationId": "lists",
                "parameters": [
                    {
                        "name": "kind",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "string", "enum": ["all", "mine", "past"]},
                    },
                    {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}},
                    {"name": "full", "in": "query", "schema": {"type": "boolean"}},
                    {"name": "ids", "in": "query", "schema": {"type": "array", "items": {}}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {"200": {"description": "", "content": {JSON: {"schema": {}}}}},
            },
            "post": {
                "operationId": "create",
                "requestBody": {
                    "required": True,
                    "content": {JSON: {"schema": {"$ref": "#/components/schemas/Node"}}},
                },
                "responses": {"201": {"description": ""}},
            },
        }
    },
    "components": {
        "schemas": {
            "Node": {
                "type": "object",
                "properties": {
                    "names": {"type": "array", "items": {"type": "string"}},
                    "child": {"$ref": "#/components/schemas/Node"},
                },
            }
        }
    },
}


def rule(**schema: Any) -> dict[str, Any]:
    return {"allOf": [{"x-rule-id": "rule", "x-vendor-sentence": SENTENCE, **schema}]}


def contract(*actions: dict[str, Any]) -> Contract:
    return Contract.build(SPEC, {"actions": list(actions)})


def test_remove_takes_out_every_match() -> None:
    document = contract(
        {"target": "$.tags[?match(@.name, 'old.*')]", "remove": True},
        {"target": "$.paths['/lists'].post", "remove": True},
    ).document
    assert document["tags"] == [{"name": "new"}]
    assert list(document["paths"]["/lists"]) == ["get"]
    assert len(SPEC["tags"]) == 3


def test_an_update_is_appended_to_an_array() -> None:
    document = contract({"target": "$.tags", "update": {"name": "newest"}}).document
    assert [tag["name"] for tag in document["tags"]] == ["old", "older", "new", "newest"]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({}, "no list of actions"),
        ({"actions": ["$.info"]}, "has a target"),
        ({"actions": [{"target": "$.info"}]}, "has a target"),
        ({"actions": [{"target": "$.info", "update": {}, "copy": "$.tags"}]}, "has a target"),
        ({"actions": [{"target": "info.title", "update": {}}]}, "info.title is not a JSONPath"),
        ({"actions": [{"target": "$.nowhere", "update": {}}]}, "nowhere matches nothing"),
        ({"actions": [{"target": "$.info.title", "update": {}}]}, r"cannot update \$\['info'\]"),
        ({"actions": [{"target": "$.info", "update": 5}]}, "cannot update"),
        ({"actions": [{"target": "$", "remove": True}]}, "removes the whole spec"),
    ],
)
def test_an_invalid_action_is_an_error(overlay: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Contract.build(SPEC, overlay)


@pytest.mark.parametrize("target", ["$.paths['/lists'].get", "$.info"])
def test_a_rule_that_applies_to_no_value_is_an_error(target: str) -> None:
    with pytest.raises(ContractError, match="the rule rule applies to no request"):
        contract({"target": target, "update": rule(minLength=1)})


def test_a_link_to_an_unknown_operation_is_an_error() -> None:
    link = {"operationId": "gone", "parameters": {"taskId": "$response.body#/taskId"}}
    target = "$.paths['/lists'].post.responses['201']"
    with pytest.raises(ContractError, match="the operation gone"):
        contract({"target": target, "update": {"links": {"result": link}}})


def test_a_rule_about_items_is_reported_where_they_violate_it() -> None:
    items = "$.components.schemas.Node.properties.names.items"
    made = contract({"target": items, "update": rule(pattern="^a")})
    schema = made.operations[1].request
    assert schema is not None
    problems = list(schema.problems({"names": ["a", "b"], "child": {"names": ["c"]}}))
    assert [(each.rule, each.field) for each in problems] == [
        ("rule", "names.1"),
        ("rule", "child.names.0"),
    ]
    assert [each.place for each in made.rules] == ["names[]"]
    assert make_plan(made, 1).rule_properties() == {"rule": "names"}


def test_a_rule_is_found_in_a_part_of_a_composed_schema() -> None:
    parts = {"allOf": [{"required": ["names"]}, {"properties": {"names": rule(minItems=1)}}]}
    request = (
        contract({"target": "$.components.schemas.Node", "update": parts}).operations[1].request
    )
    assert request is not None
    found = [(each.rule, each.field) for each in request.problems({"names": []})]
    assert found == [("rule", "names")]
    assert [each.rule for each in request.problems({})] == ["required"]


def test_a_rule_about_a_response_is_part_of_the_contract() -> None:
    target = f"$.paths['/lists'].get.responses['200'].content['{JSON}'].schema"
    made = contract({"target": target, "update": rule(minItems=1)})
    success = made.operations[0].success
    assert success is not None
    assert [each.rule for each in success.problems([])] == ["rule"]


NOT_PAST = {
    "target": "$.paths['/lists'].get.parameters[?@.name=='kind'].schema",
    "update": rule(**{"not": {"enum": ["past"]}}),
}


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("kind=mine", None),
        ("kind=mine&page=2&full=true&ids=1", None),
        ("kind=past", ("rule", "kind")),
        ("kind=other", ("enum", "kind")),
        ("kind=all&page=0", ("minimum", "page")),
        ("kind=all&page=two", ("type", "page")),
        ("page=1", ("required", "kind")),
    ],
)
def test_the_mock_validates_the_query(query: str, problem: tuple[str, str] | None) -> None:
    with MockServer(app=create_app(contract(NOT_PAST))) as server:
        response = httpx.get(f"{server.url}/lists?{query}")
    problems = [] if response.status_code == 200 else response.json()["problems"]
    assert [(each["rule"], each["field"]) for each in problems] == ([problem] if problem else [])


def outcome(api: type[MockAPI]) -> Outcome:
    made = contract(NOT_PAST)
    with MockServer(app=build_app(api(made, DEFAULT_KEYS), made)) as server:
        return Run(make_plan(made, 1), Server(server.url, command._keys(*DEFAULT_KEYS))).execute()


def test_the_harness_tests_a_rule_about_a_parameter() -> None:
    class Forgiving(MockAPI):
        def check_parameters(self, operation: Any, request: Any) -> None:
            if request.query_params.get("kind") != "past":
                super().check_parameters(operation, request)

    honest = outcome(MockAPI)
    assert (honest.causes, honest.warnings, honest.untested_rules()) == ((), (), [])
    assert [cause.id for cause in outcome(Forgiving).causes] == ["GET /lists accepted rule"]


def test_the_harness_finds_a_server_that_ignores_the_query() -> None:
    class Careless(MockAPI):
        def check_parameters(self, operation: Any, request: Any) -> None: ...

    titles = [cause.title for cause in outcome(Careless).causes]
    assert any("kind" in title for title in titles), titles


def test_a_spec_is_not_changed_by_its_overlay() -> None:
    before = copy.deepcopy(SPEC)
    contract(NOT_PAST)
    assert before == SPEC
