"""The mock serves new operations of the spec, and the harness tests them, without new code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from mountsea_banana.contract import Contract
from mountsea_banana.harness import __main__ as command
from mountsea_banana.harness._plan import make_plan
from mountsea_banana.mock import MockServer

ROOT = Path(__file__).parent.parent.parent
JSON = "application/json"


def operation(success: dict[str, Any], status: str = "200", **more: Any) -> dict[str, Any]:
    response = {"description": "", "content": {JSON: {"schema": success}}}
    return {"responses": {status: response}, "security": [{"bearerAuth": []}], **more}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": schema}}}


VIDEO = {
    "type": "object",
    "required": ["prompt", "seconds"],
    "properties": {
        "prompt": {"type": "string", "minLength": 1},
        "seconds": {"type": "integer", "enum": [4, 8]},
        "loop": {"type": "boolean", "default": False},
        "style": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "kinds": {"type": "array", "items": {"type": "boolean"}},
        "faces": {"type": "array", "items": {"type": "object"}},
        "fps": {"type": "number", "minimum": 1, "maximum": 120},
        "x": {},
    },
}
MODELS = {
    "type": "object",
    "required": ["models"],
    "properties": {"models": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
}
PATHS = {
    "/gemini/video/generate": {
        "post": operation(
            {"$ref": "#/components/schemas/TaskIdDto"}, "201", requestBody=body(VIDEO)
        )
    },
    "/gemini/models": {
        "get": operation(
            MODELS,
            parameters=[
                {
                    "name": "kind",
                    "in": "query",
                    "required": True,
                    "schema": {"type": "string", "enum": ["image", "video"]},
                },
                {"name": "page", "in": "query", "schema": {"type": "integer"}},
            ],
        )
    },
    "/gemini/models/{name}": {
        "get": operation({"type": "object"}),
        "parameters": [
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
        ],
    },
    "/health": {"get": {"responses": {"204": {"description": ""}}}},
    "/gemini/labels": {
        "get": operation({"type": "array", "items": {}}),
        "put": operation({"type": "array"}, requestBody=body({"type": "array", "items": {}})),
    },
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    document = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
    document["paths"].update(PATHS)
    path = tmp_path_factory.mktemp("spec") / "openapi.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_mock_serves_a_new_operation_from_its_schema(spec: Path) -> None:
    headers = {"Authorization": "Bearer test-token"}
    with MockServer(spec=spec) as server, httpx.Client(base_url=server.url, headers=headers) as api:
        assert api.get("/gemini/models", params={"kind": "video"}).json() == {"models": ["text"]}
        assert api.get("/health").status_code == 204
        made = api.post("/gemini/video/generate", json={"prompt": "a cat", "seconds": 4})
        poll = api.get("/gemini/task/result", params=made.json())
        assert (made.status_code, poll.json()["status"]) == (201, "pending")
        assert (
            api.post("/gemini/video/generate", json={"prompt": "", "seconds": 5}).status_code == 400
        )


def test_the_harness_tests_a_new_operation_and_the_mock_passes(
    spec: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mountsea_banana.harness._bodies.MAX_COMBINATIONS", 100)
    monkeypatch.setattr("mountsea_banana.harness._generated.EXAMPLES", 5)
    monkeypatch.setattr("mountsea_banana.harness._outcome.MIN_CASES_PER_RULE", 1)
    plan = make_plan(Contract.load(spec), 1)
    checks = {(case.operation.name, case.check) for case in plan.cases()}
    assert ("GET /gemini/models", "valid requests") in checks
    for check in (
        "valid bodies",
        "single faults",
        "combinations",
        "generated bodies",
        "keys",
        "edge cases",
    ):
        assert ("POST /gemini/video/generate", check) in checks
    assert command.main(["--spec", str(spec), "--report", str(tmp_path)]) == 0, capsys.readouterr()
