"""The mock serves the contract, with clear errors, and needs no code for new operations."""

from __future__ import annotations

import json
import runpy
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from mountsea_banana import mock
from mountsea_banana.contract import Contract, ContractError, sample
from mountsea_banana.mock import MockServer, _tasks
from mountsea_banana.mock import __main__ as command
from openapi_spec_validator import validate

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "openapi.yaml"
SUBMIT = "/gemini/image/generate"
POLL = "/gemini/task/result"
KEY = {"Authorization": "Bearer test-token"}
BODY = {"prompt": "a cat", "action": "generate"}


def test_the_effective_document_is_valid_openapi() -> None:
    validate(Contract.load(SPEC).document)


def published() -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(SPEC.read_text("utf-8"))
    return spec


def overlay() -> dict[str, Any]:
    path = ROOT / "wrapper" / "mountsea_banana" / "contract" / "rules.overlay.yaml"
    document: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return document


@pytest.mark.parametrize("target", ["$.components.schemas.Gone", "$.info.title.Gone"])
def test_an_overlay_target_without_a_match_is_an_error(target: str) -> None:
    document = overlay()
    document["actions"][0]["target"] = target
    with pytest.raises(ContractError, match="Gone"):
        Contract.build(published(), document)


def test_a_rule_whose_sentence_left_the_spec_is_an_error() -> None:
    spec = published()
    schema = spec["components"]["schemas"]["NanoImageDto"]
    schema["properties"]["num_images"]["description"] = "as many as you like"
    with pytest.raises(ContractError, match="one-image-only"):
        Contract.build(spec, overlay())


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "not valid YAML"), ("5", "not a mapping"), ("paths: 5", "matches nothing")],
)
def test_an_unusable_spec_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(content)
    with pytest.raises(ContractError, match=message):
        Contract.load(path)
    with pytest.raises(ContractError, match="cannot read"):
        Contract.load(tmp_path / "none.yaml")


def test_a_spec_with_an_invalid_operation_is_an_error() -> None:
    spec = published()
    spec["paths"][POLL]["get"]["parameters"] = 5
    with pytest.raises(ContractError, match="not a usable OpenAPI"):
        Contract.build(spec, overlay())


def test_an_operation_without_a_success_response_is_an_error() -> None:
    spec = published()
    spec["paths"][POLL]["get"]["responses"] = {"default": {"description": ""}}
    with pytest.raises(ContractError, match=f"GET {POLL} documents no success response"):
        Contract.build(spec, overlay())


def test_nullable_fields_accept_null() -> None:
    snapshot = Contract.load().operations[1].success
    assert snapshot is not None
    assert snapshot.is_valid({"taskId": "t", "status": "pending", "result": None})
    assert not snapshot.is_valid({"taskId": None, "status": "pending"})
    spec = published()
    fields = spec["components"]["schemas"]["TaskResultDto"]["properties"]
    fields["status"]["nullable"] = True
    snapshot = Contract.build(spec, overlay()).operations[1].success
    assert snapshot is not None
    assert snapshot.is_valid({"taskId": "t", "status": None})


def post(server: MockServer, **options: Any) -> httpx.Response:
    return httpx.post(server.url + SUBMIT, **{"headers": KEY, **options})


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": BODY, "headers": {}}, 401),
        ({"json": BODY, "headers": {"Authorization": "Bearer wrong"}}, 401),
        ({"json": BODY, "headers": {"Authorization": "Basic test-token"}}, 401),
        ({"data": BODY}, 415),
        ({}, 415),
        ({"content": b"{", "headers": {**KEY, "Content-Type": "application/json"}}, 400),
        ({"content": b"\xff", "headers": {**KEY, "Content-Type": "application/json"}}, 400),
        ({"content": b"[" * 100_000, "headers": {**KEY, "Content-Type": "application/json"}}, 400),
        (
            {
                "content": b'{"num_images": NaN}',
                "headers": {**KEY, "Content-Type": "application/json"},
            },
            400,
        ),
        (
            {"content": b" " * 11_000_000, "headers": {**KEY, "Content-Type": "application/json"}},
            413,
        ),
        ({"json": {**BODY, "resolution": "1K"}}, 400),
        ({"json": {**BODY, "prompt": 5}}, 400),
        ({"json": BODY}, 201),
    ],
)
def test_requests_are_validated_against_the_contract(
    banana_server: MockServer, options: dict[str, Any], status: int
) -> None:
    response = post(banana_server, **options)
    assert response.status_code == status
    assert response.json()["taskId" if status == 201 else "message"]
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"


def test_a_refusal_lists_each_rule_and_field(banana_server: MockServer) -> None:
    response = post(banana_server, json={"prompt": 5, "action": "edit", "image_urls": [5]})
    found = [(each["rule"], each["field"]) for each in response.json()["problems"]]
    assert sorted(found) == [("type", "image_urls.0"), ("type", "prompt")]
    response = post(banana_server, json={"prompt": "x", "action": "edit"})
    assert [each["rule"] for each in response.json()["problems"]] == ["edit-needs-image-urls"]


def test_a_head_request_does_not_advance_a_task(banana_server: MockServer) -> None:
    task_id = post(banana_server, json=BODY).json()["taskId"]
    url = f"{banana_server.url}{POLL}?taskId={task_id}"
    for _ in range(5):
        assert httpx.head(url, headers=KEY).status_code == 200
    assert httpx.get(url, headers=KEY).json()["status"] == "pending"


def test_an_account_cannot_poll_the_tasks_of_another(banana_server: MockServer) -> None:
    task_id = post(banana_server, json=BODY).json()["taskId"]
    other = {"Authorization": "Bearer other-token"}
    for headers, status in ((KEY, 200), (other, 404)):
        response = httpx.get(banana_server.url + POLL, params={"taskId": task_id}, headers=headers)
        assert response.status_code == status


def test_requests_outside_the_spec_get_json_errors(banana_server: MockServer) -> None:
    assert "openapi.yaml" in httpx.get(f"{banana_server.url}/none").json()["message"]
    assert httpx.delete(banana_server.url + SUBMIT).status_code == 405
    assert httpx.get(f"{banana_server.url}/images/none.png").status_code == 404
    assert httpx.get(banana_server.url + POLL, headers=KEY).status_code == 400


def test_the_published_spec_is_served_unchanged(banana_server: MockServer) -> None:
    assert httpx.get(f"{banana_server.url}/openapi.yaml").content == SPEC.read_bytes()


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_API_KEYS", "one, two")
    with MockServer() as server:
        assert post(server, json=BODY).status_code == 401
        headers = {"Authorization": "Bearer two"}
        assert post(server, json=BODY, headers=headers).status_code == 201


def test_the_oldest_task_is_dropped_beyond_the_limit(
    banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tasks, "MAX_TASKS", 1)
    post(banana_server, json={**BODY, "prompt": "old"})
    post(banana_server, json={**BODY, "prompt": "new"})
    assert [each["prompt"] for each in banana_server.submissions] == ["new"]


def test_new_operations_in_the_spec_are_served(tmp_path: Path) -> None:
    spec = published()
    task = {"$ref": "#/components/schemas/TaskIdDto"}
    content = {"application/json": {"schema": {"type": "object"}}}
    spec["paths"]["/gemini/video"] = {
        "post": {
            "requestBody": {"content": content},
            "responses": {
                "201": {"description": "", "content": {"application/json": {"schema": task}}}
            },
            "security": [{"bearerAuth": []}],
        }
    }
    shape = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}},
    }
    spec["paths"]["/models"] = {
        "get": {
            "responses": {
                "200": {"description": "", "content": {"application/json": {"schema": shape}}}
            }
        },
        "delete": {"responses": {"200": {"description": ""}}},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    with MockServer(spec=path) as server:
        assert httpx.post(f"{server.url}/gemini/video", headers=KEY, json=5).status_code == 400
        submitted = httpx.post(f"{server.url}/gemini/video", headers=KEY)
        assert submitted.status_code == 201
        poll = httpx.get(server.url + POLL, params=submitted.json(), headers=KEY)
        assert poll.json()["status"] == "pending"
        assert httpx.get(f"{server.url}/models").json() == {"name": "text"}
        assert httpx.delete(f"{server.url}/models").content == b""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"example": 3}, 3),
        ({"type": "string", "enum": ["a", "b"]}, "a"),
        ({"oneOf": [{"type": "boolean"}]}, True),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"type": "string"}]}, {"a": {}}),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [1, 1]),
        ({"type": "array"}, []),
        ({"type": "string", "format": "date", "minLength": 12}, "2026-01-01xx"),
        ({"type": "number", "minimum": 7}, 7),
        ({"$ref": "#/a/b"}, True),
    ],
)
def test_a_sample_matches_its_schema(schema: dict[str, Any], value: object) -> None:
    assert sample(schema, {"a": {"b": {"type": "boolean"}}}) == value


def test_the_command_serves_until_interrupted() -> None:
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        assert httpx.get(url).status_code == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert "test-token" in rest
    assert process.returncode == 0


def test_the_command_prints_its_url_at_once_to_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("MOCK_API_KEYS", "one")
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 20)
        process.terminate()
    assert ready


def test_the_command_reports_why_it_cannot_start(
    banana_server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--spec", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert command.main(["--port", banana_server.url.rpartition(":")[2]]) == 2
    assert "in use" in capsys.readouterr().err


def test_the_command_names_a_missing_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert command.main([]) == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.parametrize("keys", ["", "one"])
def test_the_package_runs_as_a_command(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    import uvicorn

    def interrupt(self: uvicorn.Server, sockets: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupt)
    monkeypatch.setattr(sys, "argv", ["mock", "--port", "0"])
    monkeypatch.setenv("MOCK_API_KEYS", keys)
    monkeypatch.delitem(sys.modules, "mountsea_banana.mock.__main__")
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("mountsea_banana.mock", run_name="__main__")
    assert caught.value.code == 0


def test_a_server_accepts_only_the_keys_passed_to_it() -> None:
    with MockServer(keys=["mine"]) as server:
        assert post(server, json=BODY).status_code == 401


def test_an_overlay_merges_objects_and_appends_to_arrays() -> None:
    document = overlay()
    update = {"info": {"title": "t", "x": [1]}, "tags": [{"name": "new"}]}
    document["actions"].append({"target": "$", "update": update})
    merged = Contract.build(published(), document).document
    assert merged["info"]["title"] == "t"
    assert merged["info"]["version"] == published()["info"]["version"]
    assert [tag["name"] for tag in merged["tags"]] == ["gemini", "gemini-compat", "new"]


def test_dir_lists_the_public_names() -> None:
    assert dir(mock) == sorted(mock.__all__)


@pytest.mark.parametrize("name", mock.__all__)
def test_a_public_name_is_resolved_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(mock), name, raising=False)
    value = getattr(mock, name)
    assert vars(mock)[name] is value


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'MockServr'"):
        getattr(mock, "MockServr")  # noqa: B009


MYPY = ("mypy", "--strict", "--output=json")
PYRIGHT = ("pyright", "--outputjson", "--pythonpath", sys.executable)


@pytest.mark.parametrize("checker", [MYPY, PYRIGHT], ids=["mypy", "pyright"])
def test_a_misspelt_name_is_an_error_to_type_checkers(
    checker: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "imports.py"
    path.write_text(
        "from mountsea_banana import mock\n"
        f"from mountsea_banana.mock import {', '.join(mock.__all__)}\n"
        "from mountsea_banana.mock import MockServr\n"
        "mock.Plan()\n"
        "mock.Plann()\n"
    )
    # mypy finds the package by pyproject.toml, pyright by the interpreter.
    folder = ROOT if checker is MYPY else tmp_path
    command = [sys.executable, "-m", *checker, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False).stdout
    if checker is MYPY:
        found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        lines = {each["line"] for each in found if each["severity"] == "error"}
    else:
        found = json.loads(output)["generalDiagnostics"]
        lines = {
            each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"
        }
    assert lines == {3, 5}
