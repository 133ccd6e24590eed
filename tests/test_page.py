"""The mock's page: what it receives, and what other pages of this machine may request.

`make browser` tests the page itself in a browser.
"""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from mountsea_banana.mock import MockServer, Plan, _page
from PIL import Image

ROOT = Path(__file__).parent.parent
SUBMIT = "/gemini/image/generate"
KEY = {"Authorization": "Bearer test-token"}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def submit(http: httpx.Client, server: MockServer, prompt: str, **fields: Any) -> str:
    body = json.dumps({"prompt": prompt, "action": "generate", **fields})
    headers = {**KEY, "Content-Type": "application/json"}
    task_id: str = http.post(server.url + SUBMIT, headers=headers, content=body).json()["taskId"]
    return task_id


@contextmanager
def events(http: httpx.Client, server: MockServer) -> Iterator[Iterator[dict[str, Any]]]:
    """Open the stream of events, and yield the states that it sends."""
    with http.stream("GET", f"{server.url}/_mock/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line)
        yield (json.loads(line.removeprefix("data: ")) for line in lines)


def state(http: httpx.Client, server: MockServer) -> dict[str, Any]:
    with events(http, server) as states:
        return next(states)


def form(http: httpx.Client, server: MockServer) -> dict[str, Any]:
    content = http.get(server.url).text
    found = re.search(r'<script id="form" type="application/json">(.*?)</script>', content)
    assert found
    value: dict[str, Any] = json.loads(found[1])
    return value


def test_the_state_is_sent_at_once_and_whenever_it_changes(
    http: httpx.Client, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_page, "INTERVAL", 0)
    banana_server.plan = Plan(advances="time", seconds=60)
    with httpx.Client(trust_env=False) as other, events(other, banana_server) as states:
        assert next(states)["tasks"] == []
        http.get(banana_server.url)  # changes nothing, so no state is sent
        task_id = submit(http, banana_server, "a cat")
        latest = next(states)
        assert latest["charged"] == 1
        assert [(each["id"], each["status"]) for each in latest["tasks"]] == [(task_id, "pending")]
        banana_server.clock.sleep(60)  # no request is made
        assert next(states)["tasks"][0]["status"] == "completed"
        banana_server.reset()
        assert next(states)["tasks"] == []


def test_the_latest_tasks_are_shown_newest_first(
    http: httpx.Client, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_page, "SHOWN_TASKS", 2)
    for prompt in ("first", "<script>", "half a pair: \ud800"):
        submit(http, banana_server, prompt)
    shown = state(http, banana_server)["tasks"]
    assert [each["prompt"] for each in shown] == ["half a pair: \ud800", "<script>"]


def test_a_card_has_what_the_page_shows(http: httpx.Client, banana_server: MockServer) -> None:
    banana_server.plan = Plan(ends_as="failed", advances="hand", polls=2, error_message="no cats")
    source = submit(http, banana_server, "a cat", model="nano-banana-2", aspect_ratio="8:1")
    url = f"{banana_server.url}/images/{source}.png"
    edit = submit(http, banana_server, "red", action="edit", image_urls=[url, "https://x.example"])
    banana_server.advance(edit)
    newest, oldest = state(http, banana_server)["tasks"]
    assert newest == {
        "id": edit,
        "status": "failed",
        "isFinal": True,
        "isManual": True,
        "plan": "ends as failed when you advance it, error_message: no cats",
        "error": "no cats",
        "prompt": "red",
        "facts": "edit",
        "sources": [source],
    }
    assert (oldest["facts"], oldest["error"]) == ("generate · nano-banana-2 · 8:1", None)


@pytest.mark.parametrize(
    ("plan", "summary"),
    [
        (Plan(), "ends as completed at poll 3"),
        (Plan(advances="time", seconds=2.5), "ends as completed after 2.5 s"),
        (
            Plan(ends_as="timeout", drops=True, refusals=2),
            "ends as timeout at poll 3, refusals: 2, drops",
        ),
    ],
)
def test_plans_are_shown_in_words(
    http: httpx.Client, banana_server: MockServer, plan: Plan, summary: str
) -> None:
    banana_server.plan = plan
    banana_server.next_task(plan)
    shown = state(http, banana_server)
    assert (shown["planSummary"], shown["next"]) == (summary, [summary])
    assert Plan(**shown["plan"]) == plan


def test_previews_are_small_and_have_the_ratio_of_the_image(
    http: httpx.Client, banana_server: MockServer
) -> None:
    options = {"model": "nano-banana-2", "aspect_ratio": "8:1", "resolution": "4K"}
    task_id = submit(http, banana_server, "a cat", **options)
    preview = http.get(f"{banana_server.url}/_mock/previews/{task_id}.png")
    assert preview.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(preview.content)).size == (800, 100)
    assert http.get(f"{banana_server.url}/_mock/previews/none.png").status_code == 404


def test_the_form_has_the_fields_of_the_spec(http: httpx.Client, banana_server: MockServer) -> None:
    spec = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
    expected = spec["components"]["schemas"]["NanoImageDto"]["properties"]
    operations = form(http, banana_server)["operations"]
    operation = next(each for each in operations if each["path"] == SUBMIT)
    assert [each["name"] for each in operation["fields"]] == list(expected)
    for each in operation["fields"]:
        assert each["values"] == expected[each["name"]].get("enum", [])
        is_required = each["name"] in ("prompt", "action")
        assert (each["value"] is not None) == is_required


def test_the_form_has_the_operations_that_submit_tasks(http: httpx.Client, tmp_path: Path) -> None:
    spec = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
    submission = spec["paths"][SUBMIT]["post"]
    spec["paths"]["/video"] = {"post": {"responses": submission["responses"]}}
    schema = spec["components"]["schemas"]["NanoImageDto"]
    schema["properties"]["prompt"]["description"] += "</script>"
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), "utf-8")
    with MockServer(spec=path) as server:
        operations = {each["path"]: each for each in form(http, server)["operations"]}
    assert {SUBMIT, "/video"} <= operations.keys()
    assert "/gemini/task/result" not in operations
    assert operations["/video"]["fields"] == []


def test_the_page_contains_no_key_but_the_default_one(
    http: httpx.Client, banana_server: MockServer
) -> None:
    assert form(http, banana_server)["key"] == "test-token"
    with MockServer(keys=["my-secret"]) as server:
        assert form(http, server)["key"] == ""
        assert "my-secret" not in http.get(server.url).text


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost:5173", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:3000", True),
        ("https://example.com", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com:8000", False),
    ],
)
def test_pages_of_this_machine_may_call_the_api(
    http: httpx.Client, banana_server: MockServer, origin: str, is_allowed: bool
) -> None:
    allowed = origin if is_allowed else None
    preflight = http.options(
        banana_server.url + SUBMIT,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert preflight.headers.get("access-control-allow-origin") == allowed
    assert preflight.status_code == (200 if is_allowed else 400)
    banana_server.plan = Plan(refusals=1)
    body = {"prompt": "a cat", "action": "generate"}
    response = http.post(banana_server.url + SUBMIT, headers={**KEY, "Origin": origin}, json=body)
    assert response.status_code == 429
    assert response.headers.get("access-control-allow-origin") == allowed
    assert "Retry-After" in response.headers["access-control-expose-headers"]


def test_the_command_stops_while_a_page_is_open(http: httpx.Client) -> None:
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        with http.stream("GET", f"{url}/_mock/events") as response:
            lines = response.iter_lines()
            assert next(lines)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
    assert (process.returncode, errors) == (0, "")
