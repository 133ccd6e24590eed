"""Plans control the mock's tasks from Python, the control API and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import pytest
from mountsea_banana import (
    AsyncNanoBanana,
    ContractWarning,
    DownloadError,
    InstantClock,
    NanoBanana,
    RateLimitError,
    ServerError,
    SubmissionUnknown,
    TaskFailed,
    mock,
)
from mountsea_banana.mock import MockServer, Plan
from mountsea_banana.mock import __main__ as command


@pytest.mark.parametrize("status", ["failed", "cancelled", "timeout"])
def test_next_task_sets_the_final_status_of_one_task(
    banana: NanoBanana, banana_server: MockServer, status: str
) -> None:
    banana_server.next_task(Plan(ends_as=status))
    with pytest.raises(TaskFailed, match=f"set to end this task as {status}") as caught:
        banana.generate("a cat").wait()
    assert (caught.value.status, caught.value.error_code) == (status, 1000)
    assert banana.generate("a cat").wait().status == "completed"


def statuses(banana: NanoBanana) -> list[str]:
    seen: list[str] = []
    banana.generate("a cat").wait(on_update=lambda snapshot: seen.append(snapshot.status))
    return seen


@pytest.mark.parametrize("polls", [1, 2, 5])
def test_a_task_ends_after_the_planned_number_of_polls(
    banana: NanoBanana, banana_server: MockServer, polls: int
) -> None:
    banana_server.next_task(Plan(polls=polls))
    expected = ["pending", *["processing"] * (polls - 2)][: polls - 1]
    assert statuses(banana) == [*expected, "completed"]


def test_a_task_takes_the_planned_time_on_the_clock_of_the_client(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana_server.plan = Plan(advances="time", seconds=60)
    start = banana_server.clock.monotonic()
    assert list(dict.fromkeys(statuses(banana))) == ["pending", "processing", "completed"]
    assert 60 <= banana_server.clock.monotonic() - start <= 70


def test_a_manual_task_changes_only_when_advanced(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana_server.plan = Plan(advances="hand")
    first, second = banana.generate("a cat"), banana.generate("a dog")
    for expected in ("pending", "processing", "completed"):
        assert [first.fetch().status for _ in range(3)] == [expected] * 3
        banana_server.advance(first.id)
    assert second.fetch().status == "pending"
    banana_server.advance()
    assert second.fetch().status == "processing"
    banana_server.next_task(Plan())
    other = banana.generate("a bird")
    with pytest.raises(ValueError, match=f"cannot advance task '{other.id}': .*advances='poll'"):
        banana_server.advance(other.id)
    with pytest.raises(ValueError, match="cannot advance task 'none': no such task"):
        banana_server.advance("none")


def test_a_submission_is_refused_the_planned_number_of_times(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(refusals=2))
    assert banana.generate("a cat").id
    assert banana_server.charged == 1
    banana_server.plan = Plan(refusals=9)
    with pytest.raises(RateLimitError) as caught:
        banana.generate("a cat")
    assert caught.value.retry_after == 1
    banana_server.reset()
    banana_server.next_task(Plan(refusals=1, refusal_status=500))
    with pytest.raises(ServerError):
        banana.generate("a cat")
    assert banana_server.charged == 0


def test_a_dropped_submission_is_charged_and_creates_a_task(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(drops=True))
    with pytest.raises(SubmissionUnknown):
        banana.generate("a cat")
    assert banana_server.charged == len(banana_server.submissions) == 1
    assert banana.generate("a cat").wait().is_final


def test_a_truncated_image_is_not_saved(
    banana: NanoBanana, banana_server: MockServer, tmp_path: Any
) -> None:
    banana_server.next_task(Plan(truncates=True))
    result = banana.generate("a cat").wait()
    with pytest.raises(DownloadError, match="could not be downloaded"):
        result.save(tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []


def test_a_custom_status_is_shown_until_the_task_ends(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(shows="reticulating"))
    with pytest.warns(ContractWarning, match="reticulating"):
        assert statuses(banana) == ["reticulating", "reticulating", "completed"]


def test_a_reset_forgets_tasks_charges_and_plans(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    task = banana.generate("a cat")
    banana_server.next_task(Plan(ends_as="failed"))
    banana_server.plan = Plan(polls=1)
    banana_server.reset()
    assert (banana_server.charged, banana_server.submissions) == (0, [])
    assert banana_server.plan == Plan()
    assert banana.generate("a cat").id != task.id
    assert statuses(banana) == ["pending", "processing", "completed"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"ends_as": "done"}, "must be completed, failed, cancelled or timeout, not 'done'"),
        ({"ends_as": []}, "must be completed, failed, cancelled or timeout, not []"),
        ({"polls": 0}, "must be a positive integer, not 0"),
        ({"polls": "3"}, "must be a positive integer, not '3'"),
        ({"polls": True}, "must be a positive integer, not True"),
        ({"seconds": -1}, "must be a number of seconds, not -1"),
        ({"seconds": "5"}, "must be a number of seconds, not '5'"),
        ({"seconds": False}, "must be a number of seconds, not False"),
        ({"refusals": -1}, "must be an integer, 0 or more, not -1"),
        ({"refusal_status": 200}, "must be from 400 to 599, not 200"),
        ({"error_code": 1.5}, "must be an integer, not 1.5"),
        ({"error_message": None}, "must be a string, not None"),
        ({"shows": "\ud800"}, r"must be a string, not '\ud800'"),
        ({"drops": 1}, "must be true or false, not 1"),
    ],
)
def test_invalid_knobs_are_rejected_everywhere(
    banana_server: MockServer, knobs: dict[str, Any], message: str
) -> None:
    (name,) = knobs
    with pytest.raises(ValueError, match=f"'{name}' {re.escape(message)}"):
        Plan(**knobs)
    for path in ("plan", "next"):
        response = httpx.post(f"{banana_server.url}/_mock/{path}", content=json.dumps(knobs))
        assert response.status_code == 400
        assert response.json()["message"] == f"'{name}' {message}"
    assert banana_server.plan == Plan()


def test_all_invalid_knobs_are_reported_in_one_line(banana_server: MockServer) -> None:
    knobs = {"oops": 1, "polls": 0, "errorCode": 5, "drops": 2}
    message = httpx.post(f"{banana_server.url}/_mock/next", json=knobs).json()["message"]
    problems, _, valid = message.partition("; valid knobs: ")
    assert problems == (
        "'polls' must be a positive integer, not 0; 'drops' must be true or false, not 2; "
        "unknown knobs 'oops', 'errorCode'"
    )
    assert valid.split(", ") == [field.name for field in attrs.fields(Plan)]
    message = httpx.post(f"{banana_server.url}/_mock/plan", json={"oops": 1}).json()["message"]
    assert message.startswith("unknown knob 'oops'; valid knobs: ends_as, ")


def test_a_failed_task_has_the_planned_message_and_code(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana_server.plan = Plan(ends_as="failed", error_message="违规 content", error_code=-7)
    with pytest.raises(TaskFailed) as caught:
        banana.generate("a cat").wait()
    assert (caught.value.error_message, caught.value.error_code) == ("违规 content", -7)


def test_knobs_that_next_leaves_out_are_those_of_the_current_plan() -> None:
    with MockServer(plan=Plan(refusals=1, shows="queued")) as server:

        def set_plan(path: str, **knobs: Any) -> Plan:
            response = httpx.post(f"{server.url}/_mock/{path}", json=knobs)
            return Plan(**response.json())

        assert set_plan("next", ends_as="failed") == Plan(
            refusals=1, shows="queued", ends_as="failed"
        )
        assert set_plan("plan", drops=True) == Plan(refusals=1, shows="queued", drops=True)
        assert set_plan("next", refusals=0) == Plan(shows="queued", drops=True)
        assert set_plan("plan") == Plan(refusals=1, shows="queued")


@pytest.mark.parametrize(
    ("current", "knobs", "advances"),
    [
        ("time", {"polls": 1}, "poll"),
        ("time", {"polls": 1, "seconds": 9}, "time"),
        ("hand", {"polls": 2}, "hand"),
        ("poll", {"seconds": 9}, "time"),
        ("hand", {"seconds": 9, "advances": "poll"}, "poll"),
    ],
)
def test_a_duration_or_number_of_polls_decides_what_advances_a_task(
    banana_server: MockServer, current: str, knobs: dict[str, Any], advances: str
) -> None:
    banana_server.plan = Plan(advances=current)
    response = httpx.post(f"{banana_server.url}/_mock/next", json=knobs)
    assert response.json()["advances"] == advances


def test_refusals_are_counted_per_plan(banana_server: MockServer) -> None:
    def status() -> int:
        return httpx.post(
            f"{banana_server.url}/gemini/image/generate",
            headers={"Authorization": "Bearer test-token"},
            json={"action": "generate", "prompt": "a cat"},
        ).status_code

    banana_server.plan = Plan(refusals=3)
    assert status() == 429
    banana_server.next_task(Plan(refusals=1))
    assert [status() for _ in range(3)] == [429, 201, 429]


def test_concurrent_waits_overlap(async_banana: AsyncNanoBanana, banana_server: MockServer) -> None:
    clock = banana_server.clock
    assert isinstance(clock, InstantClock)

    async def wait() -> None:
        tasks = [await async_banana.generate("a cat") for _ in range(30)]
        await asyncio.gather(*(task.wait() for task in tasks))

    start = clock.monotonic()
    asyncio.run(wait())
    assert clock.monotonic() - start < sum(clock.sleeps)  # as long as one after another


def test_the_state_can_contain_prompts_with_lone_surrogates(banana_server: MockServer) -> None:
    url = f"{banana_server.url}/gemini/image/generate"
    headers = {"Authorization": "Bearer test-token", "Content-Type": "application/json"}
    body = b'{"prompt": "\\ud800", "action": "generate"}'
    assert httpx.post(url, content=body, headers=headers).status_code == 201
    assert httpx.get(f"{banana_server.url}/_mock").json()["charged"] == 1


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_the_control_api_rejects_bodies_that_are_not_json_objects(
    banana_server: MockServer, body: bytes
) -> None:
    response = httpx.post(f"{banana_server.url}/_mock/next", content=body)
    assert response.status_code == 400
    assert response.json()["message"].startswith("the request body ")


def test_the_control_api_supports_every_action(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    def control(path: str, **arguments: Any) -> Any:
        response = httpx.post(f"{banana_server.url}/_mock/{path}", json=arguments)
        assert response.status_code == (400 if arguments.get("taskId") == "none" else 200)
        return response.json()

    control("plan", advances="hand")
    control("next", ends_as="failed", advances="poll")
    with pytest.raises(TaskFailed):
        banana.generate("a cat").wait()
    task = banana.generate("a dog")
    assert control("advance", taskId=task.id) == {task.id: "processing"}
    assert control("advance") == {task.id: "completed"}
    assert "no such task" in control("advance", taskId="none")["message"]
    odd = httpx.post(f"{banana_server.url}/_mock/advance", json={"taskId": []})
    assert (odd.status_code, odd.json()["message"]) == (400, "taskId must be a string, not []")
    endless = httpx.post(f"{banana_server.url}/_mock/plan", content=b'{"seconds": Infinity}')
    assert endless.status_code == 400
    control("next", drops=True)
    state = httpx.get(f"{banana_server.url}/_mock").json()
    assert state["charged"] == 2
    assert state["submissions"][1] == {"action": "generate", "prompt": "a dog"}
    assert state["tasks"][1] == {"taskId": task.id, "status": "completed"}
    assert state["plan"]["advances"] == "hand"
    assert [plan["drops"] for plan in state["next"]] == [True]
    httpx.post(f"{banana_server.url}/_mock/reset")
    assert httpx.get(f"{banana_server.url}/_mock").json()["tasks"] == []


@contextlib.contextmanager
def served(*flags: str) -> Iterator[str]:
    """Run the command, and yield its URL."""
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[3]
        process.terminate()
        process.stdout.read()


def test_the_command_line_flags_set_the_same_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    knobs: dict[str, Any] = {
        "ends_as": "cancelled",
        "advances": "hand",
        "seconds": 7.5,
        "polls": 1,
        "shows": "queued",
        "error_message": "no",
        "error_code": 5,
        "refusals": 1,
        "refusal_status": 503,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in knobs.items()]
    with served(*flags, "--drops", "--truncates") as url:
        plan = Plan(**httpx.get(f"{url}/_mock").json()["plan"])
    assert plan == Plan(**knobs, drops=True, truncates=True)
    with pytest.raises(SystemExit) as caught:
        command.main(["--polls", "0"])
    assert caught.value.code == 2
    assert "'polls' must be a positive integer, not 0" in capsys.readouterr().err
    assert command.main(["--host", ""]) == 2
    assert "every network interface" in capsys.readouterr().err


def test_tasks_of_the_command_end_without_polls() -> None:
    with served("--seconds", "0") as url:
        httpx.post(
            f"{url}/gemini/image/generate",
            headers={"Authorization": "Bearer test-token"},
            json={"action": "generate", "prompt": "a cat"},
        )
        state = httpx.get(f"{url}/_mock").json()
    assert state["plan"]["advances"] == "time"
    assert [task["status"] for task in state["tasks"]] == ["completed"]
    with served() as url:
        assert Plan(**httpx.get(f"{url}/_mock").json()["plan"]) == Plan(advances="time")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(mock), "MockServer")  # the import above cached it
    monkeypatch.delattr(mock, "_server")
    monkeypatch.delitem(sys.modules, "mountsea_banana.mock._server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"uvicorn is missing: pip install .*\[mock"):
        mock.MockServer  # noqa: B018
