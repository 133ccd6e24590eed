"""The command line against the mock server and against servers that fail."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import mountsea_banana as api
import pytest
from mountsea_banana import Clock, ledger
from mountsea_banana._shared.signals import ENDING
from mountsea_banana.cli import main
from mountsea_banana.cli._failures import exit_code
from mountsea_banana.mock import MockServer, Plan
from mountsea_banana.rules import _check, _rules

from tests.conftest import CHILD, Outcome, Run
from tests.faults import Fault, FaultServer, response
from tests.test_images import PNG

SUBMITTED = Fault("submitted", response(201, {"taskId": "t-1"}), charges=True)


def snapshot(status: str, **fields: object) -> Fault:
    return Fault(status, response(200, {"taskId": "t-1", "status": status, **fields}))


def only_json(outcome: Outcome) -> dict[str, Any]:
    assert outcome.out.count("\n") == 1
    document: dict[str, Any] = json.loads(outcome.out)
    assert list(document) == [
        *("task_id", "key", "status", "path", "image_urls", "charged", "trace_id", "error")
    ]
    return document


# A task from submission to file


def test_generate_saves_the_image_and_prints_only_its_path(
    run: Run, banana_server: MockServer
) -> None:
    outcome = run(
        *("generate", "a cat", "--model", "nano-banana-2", "--aspect-ratio", "8:1"),
        *("--resolution", "2K", "-o", "cat.png"),
        url=banana_server.url,
    )
    assert (outcome.code, outcome.out) == (0, "cat.png\n")
    assert Path("cat.png").read_bytes().startswith(b"\x89PNG")
    assert banana_server.submissions == [
        {
            "action": "generate",
            "prompt": "a cat",
            "model": "nano-banana-2",
            "aspect_ratio": "8:1",
            "resolution": "2K",
        }
    ]
    lines = outcome.err.splitlines()
    assert re.fullmatch(r"task \w{32}", lines[0])
    assert lines[1:-1] == ["pending", "processing", "completed"]
    assert re.fullmatch(r"done in \d+ s", lines[-1])


def test_edit_sends_every_url(run: Run, banana_server: MockServer) -> None:
    urls = ["https://a.example/1.png", "https://a.example/2.png"]
    command = ("edit", "make it red", *urls, "-o", "out.png", "--no-check-images")
    assert run(*command, url=banana_server.url).code == 0
    assert banana_server.submissions == [
        {"action": "edit", "prompt": "make it red", "image_urls": urls}
    ]


def test_without_output_the_file_is_named_after_the_task(
    run: Run, banana_server: MockServer
) -> None:
    outcome = run("generate", "a cat", url=banana_server.url)
    (path,) = Path().iterdir()
    assert outcome.out == f"{path}\n"
    assert f"task {path.stem}" in outcome.err


def test_no_wait_prints_the_task_id_for_the_result_command(
    run: Run, banana_server: MockServer
) -> None:
    outcome = run("generate", "a cat", "--no-wait", "-o", "a cat.png", url=banana_server.url)
    task_id = outcome.out.strip()
    assert outcome.code == 0
    assert "nano-banana result " in outcome.err
    assert "-o 'a cat.png'" in outcome.err
    assert list(Path().iterdir()) == []
    assert run("result", "-o", "x.png", "--", task_id).out == "x.png\n"


def test_json_prints_one_object_and_nothing_else(run: Run, banana_server: MockServer) -> None:
    document = only_json(run("generate", "a cat", "-o", "cat.png", "--json", url=banana_server.url))
    outcome = [document[name] for name in ("status", "path", "charged", "error")]
    assert outcome == ["completed", "cat.png", "yes", None]
    assert document["image_urls"] == [f"{banana_server.url}/images/{document['task_id']}.png"]
    document = only_json(run("generate", "a cat", "--no-wait", "--json"))
    assert document.pop("task_id")
    assert document.pop("key")
    assert document.pop("charged") == "yes"
    assert set(document.values()) == {None}


def test_names_may_be_short_and_in_lower_case(run: Run, banana_server: MockServer) -> None:
    options = ("-m", "NANO-BANANA-2", "-a", "8:1", "-r", "2k", "--timeout", "1.5m")
    assert run("generate", "a cat", *options, url=banana_server.url).code == 0
    assert banana_server.submissions[0]["resolution"] == "2K"
    assert "'9k' is not one of '1K', '2K', '4K'" in run("generate", "a cat", "-r", "9k").err


@pytest.mark.parametrize(
    "source", [("-",), ("--prompt-file", "prompt.txt"), ("--prompt-file", "-")]
)
@pytest.mark.parametrize("action", ["generate", "edit"])
def test_a_prompt_is_read_from_stdin_or_a_file(
    action: str,
    source: tuple[str, ...],
    child: Callable[..., Any],
    banana_server: MockServer,
    tmp_path: Path,
) -> None:
    text = "\ufeffa 猫\non a mat\r\n".encode()
    images = ("https://a.example/1.png", "--no-check-images") if action == "edit" else ()
    (tmp_path / "prompt.txt").write_bytes(text)
    process = child(action, *source, *images, "--no-wait", stdin=subprocess.PIPE)
    process.stdin.buffer.write(text)
    process.communicate(timeout=60)
    assert banana_server.submissions[0]["prompt"] == "a 猫\non a mat"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "could not be read from prompt.txt"),
        (b" \n", "the prompt is empty; pass --allow-"),
        (b"\xef\xbb\xbf\xe2\x80\x8b\x1a\n", "the prompt is empty; pass --allow-"),
    ],
)
def test_an_unusable_prompt_file_is_bad_use(content: bytes, message: str, run: Run) -> None:
    Path("prompt.txt").write_bytes(content)
    outcome = run("generate", "--prompt-file", "prompt.txt")
    assert outcome.code == 2
    assert message in outcome.err
    assert "could not be read from nowhere" in run("generate", "--prompt-file", "nowhere").err


def test_with_a_prompt_file_an_edit_takes_only_urls(run: Run) -> None:
    Path("prompt.txt").write_text("make it red\n", encoding="utf-8")
    outcome = run("edit", "--prompt-file", "prompt.txt", "https://a.example/1.png", "--dry-run")
    assert json.loads(outcome.out) == {
        "action": "edit",
        "prompt": "make it red",
        "image_urls": ["https://a.example/1.png"],
    }


def test_an_empty_prompt_must_be_meant(run: Run, banana_server: MockServer) -> None:
    assert run("generate", "", url=banana_server.url).code == 2
    assert banana_server.charged == 0
    assert run("generate", "", "--allow-empty", "--no-wait").code == 0


def test_a_prompt_without_quotes_is_not_taken_for_urls(run: Run) -> None:
    outcome = run("edit", "make", "it", "red", "https://a.example/1.png")
    assert outcome.code == 2
    assert "put it in quotes, as in 'make it red'" in outcome.err


def test_an_edit_checks_its_images_before_it_is_paid_for(
    run: Run, banana_server: MockServer
) -> None:
    source = f"{banana_server.url}/images/missing.png"
    outcome = run("edit", "make it red", source, url=banana_server.url)
    assert (outcome.code, banana_server.charged) == (2, 0)
    assert "returned the status 404" in outcome.err
    assert "pass --no-check-images to send it anyway" in outcome.err


def test_a_dry_run_shows_the_request_and_sends_nothing(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOUNTSEA_API_KEY")
    outcome = run("generate", "a 猫", "--dry-run", url=banana_server.url)
    assert (outcome.code, outcome.out) == (0, '{"action": "generate", "prompt": "a 猫"}\n')
    assert outcome.err == "the request conforms to the rules; nothing was sent\n"
    outcome = run("edit", "red", "cat.png", "--dry-run", "--json", "-r", "4K")
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err, document["charged"]) == (2, "", "no")
    assert document["request"]["image_urls"] == ["cat.png"]
    assert "--resolution works only with" in document["error"]["message"]
    outcome = run("generate", "a cat", "--dry-run", "-a", "8:1")
    assert outcome.code == 2
    assert outcome.err.startswith("error: --aspect-ratio 8:1 works only with")
    assert banana_server.charged == 0


def test_the_name_of_the_file_may_have_the_task_id_and_a_number(
    run: Run, banana_server: MockServer
) -> None:
    Path("cat-1.png").touch()
    command = ("generate", "a cat", "-o", "cat-{n}.png", "--once", "cat")
    assert run(*command, url=banana_server.url).out == "cat-2.png\n"
    assert run(*command).out == "cat-2.png\n"
    assert run("result", "--last", "-o", "dog-{n}.png").out == "dog-1.png\n"
    task_id = json.loads(run("ledger", "export").out)["task_id"]
    assert run("result", "--last", "-o", "a/{task_id}").out == f"a/{task_id}.png\n"
    assert "File name too long" in run("result", "--last", "-o", "{n}" + "n" * 300).err


def test_the_image_is_written_to_stdout(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Path("out").open("w", encoding="utf-8") as file:
        patch.setattr(sys, "stdout", file)
        assert run("generate", "a cat", "-o", "-", url=banana_server.url).code == 0
    assert Path("out").read_bytes().startswith(b"\x89PNG")
    with monkeypatch.context() as patch, Path("/dev/full").open("w", encoding="utf-8") as full:
        patch.setattr(sys, "stdout", full)
        outcome = run("generate", "a cat", "-o", "-")
    assert outcome.code == 3
    assert "error: cannot write to stdout: " in outcome.err
    assert re.search(r"\n  nano-banana result \w+ -o -\n$", outcome.err)


def test_the_image_is_not_written_to_a_terminal(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    outcome = run("generate", "a cat", "-o", "-", url=banana_server.url)
    assert (outcome.code, banana_server.charged) == (2, 0)
    assert "stdout is a terminal" in outcome.err


def test_the_image_is_opened(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    run("generate", "a cat", "-o", "cat.png", "--open", url=banana_server.url)
    assert opened == ["cat.png"]


# Errors before anything is paid for


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("--resolution", "2K"), ["--resolution works only with", "or omit the resolution"]),
        (("--aspect-ratio", "8:1"), ["--aspect-ratio 8:1 works only with nano-banana-2"]),
        (("--aspect-ratio", "1:8", "--resolution", "4K"), ["--aspect-ratio 1:8", "--resolution"]),
        (("--model", "nano-banana-9"), ["'--model'", "nano-banana-fast"]),
        (("--timeout", "-1"), ["'--timeout'", "0 or more seconds, not -1.0"]),
        (("--timeout", "nan"), ["'--timeout'", "not nan"]),
        (("--timeout", "soon"), ["'--timeout'", "soon"]),
        (("--timeout", "5d"), ["'--timeout'", "5d"]),
        (("-o", ""), ["pass a file, a folder, or - for stdout"]),
        (("-o", "{prompt}.png"), ["only {task_id} and {n} are replaced, not {prompt}"]),
        (("-o", "-", "--open"), ["--open needs a file"]),
        (("--no-wait", "--open"), ["--open needs a file"]),
        (("fluffy", "dog"), ["put it in quotes, as in 'a cat fluffy dog'"]),
        (("--prompt-file", "x"), ["pass a PROMPT, or - to read it from stdin, or --prompt-file"]),
        (("--base-url", "http://api.example"), ["unencrypted"]),
        (("--flavour", "vanilla"), ["--flavour"]),
    ],
)
def test_a_usage_error_names_the_option_and_sends_no_request(
    arguments: tuple[str, ...], messages: list[str], run: Run
) -> None:
    with FaultServer(SUBMITTED) as server:
        outcome = run("generate", "a cat", *arguments, url=server.url)
    assert (outcome.code, outcome.out, server.requests) == (2, "", [])
    assert all(each in outcome.err for each in messages)


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "URL is required for an edit: pass"),
        (
            ["https://a.example/a", "/resolution.png"],
            "URL 2 is '/resolution.png', but the API takes only http(s) URLs with a host: upload",
        ),
        (
            ["http://a.example/a b"],
            "URL 1 is 'http://a.example/a b', which is not a valid URI: percent-encode",
        ),
    ],
)
def test_an_invalid_edit_names_the_url(urls: list[str], message: str, run: Run) -> None:
    outcome = run("edit", "make it red", *urls)
    assert outcome.code == 2
    assert f"error: {message}" in outcome.err


def test_a_usage_error_has_its_exit_code_even_if_it_cannot_be_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert main(["generate"]) == 2


def test_a_missing_key_names_the_variable_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOUNTSEA_API_KEY")
    outcome = run("generate", "a cat")
    assert (outcome.code, outcome.out, outcome.err) == (
        2,
        "",
        "error: the API key is missing; set MOUNTSEA_API_KEY\n",
    )


@pytest.mark.parametrize("output", ["cat.png", "cat", "link.png"])
def test_an_existing_file_is_found_before_anything_is_paid_for(output: str, run: Run) -> None:
    Path("cat.png").write_bytes(b"mine")
    Path("link.png").symlink_to("nowhere")
    with FaultServer(SUBMITTED) as server:
        outcome = run("generate", "a cat", "-o", output, url=server.url)
    assert (outcome.code, server.requests) == (2, [])
    assert f"error: --output {output}: " in outcome.err
    assert "exists; pass --force to replace it" in outcome.err
    assert Path("cat.png").read_bytes() == b"mine"


def test_force_replaces_the_file(run: Run, banana_server: MockServer) -> None:
    Path("cat.png").write_bytes(b"mine")
    assert run("generate", "a cat", "-o", "cat.png", "--force", url=banana_server.url).code == 0
    assert Path("cat.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file/cat.png", "file is not a folder"),
        ("n" * 300 + ".png", "File name too long"),
        ("closed/new/cat.png", "the folder closed is not writable"),
        ("closed", "the folder closed is not writable"),
        ("/proc/cat.png", "the folder /proc is not writable"),
        ("/dev/null", "/dev/null is not a regular file"),
    ],
)
def test_an_unwritable_output_is_found_before_anything_is_paid_for(
    output: str, message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_bytes(b"")
    Path("closed").mkdir()
    create = tempfile.TemporaryFile

    def refuse(*, dir: Path) -> Any:  # noqa: A002
        if dir.name == "closed":  # root may write everywhere
            raise PermissionError
        return create(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with FaultServer(SUBMITTED) as server:
        outcome = run("generate", "a cat", "-o", output, url=server.url)
    assert (outcome.code, server.requests) == (2, [])
    assert message in outcome.err


def test_a_missing_folder_is_created_for_the_image(run: Run, banana_server: MockServer) -> None:
    outcome = run("generate", "a cat", "-o", "new/folder/", url=banana_server.url)
    assert Path(outcome.out.strip()).parent == Path("new/folder")


# Errors after the submission


def test_a_failed_task_reports_the_reason(run: Run) -> None:
    failed = snapshot("failed", errorMessage="no [b]cats", errorCode=7, traceId="tr-1")
    with FaultServer(SUBMITTED, snapshot("processing"), snapshot("processing"), failed) as server:
        outcome = run("generate", "a cat", "--json", url=server.url)
    assert outcome.code == 1
    assert outcome.err.count("processing\n") == 1
    assert "error: task t-1 ended as failed: no [b]cats, error code 7, trace id tr-1" in outcome.err
    assert "resume the task" not in outcome.err
    document = only_json(outcome)
    assert document.pop("key")
    assert document == {
        "task_id": "t-1",
        "status": "failed",
        "path": None,
        "image_urls": None,
        "charged": "yes",
        "trace_id": "tr-1",
        "error": {
            "type": "TaskFailed",
            "message": "task t-1 ended as failed: no [b]cats, error code 7, trace id tr-1",
            "code": 7,
        },
    }


def test_text_from_the_server_cannot_control_the_terminal_or_break_the_json(run: Run) -> None:
    failed = Fault(
        "failed",
        response(
            200,
            b'{"taskId": "t-1", "status": "failed", "errorCode": NaN,'
            b' "errorMessage": "\\u001b[2J\\r\\ud800\\u009b\\u202e"}',
        ),
    )
    with FaultServer(SUBMITTED, snapshot("\x1b[31mready\x07"), failed) as server:
        outcome = run("generate", "a cat", "--json", url=server.url)
    assert outcome.code == 1
    assert "\\x1b[31mready\\x07\n" in outcome.err
    assert "\\x1b[2J\\r\\ud800\\x9b\\u202e" in outcome.err
    assert outcome.err.replace("\n", "").isprintable()
    assert outcome.out.rstrip("\n").isprintable()
    assert only_json(outcome)["error"]["code"] == "nan"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("500", response(500), charges=True), "may have been accepted and charged"),
        (Fault("closed", charges=True), "check your account before you resend it"),
        (Fault("no id", response(201, {}), charges=True), "may have been charged"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--no-ledger",)])
def test_an_unknown_outcome_has_its_own_exit_code(
    options: tuple[str, ...], fault: Fault, message: str, run: Run
) -> None:
    with FaultServer(fault) as server:
        outcome = run("generate", "a cat", "--json", *options, url=server.url)
    assert (outcome.code, server.charged) == (4, 1)
    assert message in outcome.err
    assert "client.task" not in outcome.err
    assert "nano-banana result" not in outcome.err
    document = only_json(outcome)
    assert (document["task_id"], document["charged"]) == (None, "unknown")
    assert message in document["error"]["message"]


def test_a_task_id_in_a_broken_response_is_kept(run: Run) -> None:
    half = Fault("half", SUBMITTED.text[:-1], charges=True)
    with FaultServer(half) as server:
        outcome = run("generate", "a cat", "--no-ledger", "--json", url=server.url)
        assert "Task t-1 was created\nresume the task" in outcome.err
        assert "nano-banana result t-1 --no-ledger" in outcome.err
        document = only_json(outcome)
        assert (outcome.code, document["task_id"], document["charged"]) == (4, "t-1", "yes")
        server.expect(half)
        # The ledger has the task, so that the command can go on.
        assert run("generate", "a cat", "--no-wait", url=server.url).out == "t-1\n"


def test_an_unreachable_server_costs_nothing(run: Run) -> None:
    outcome = run("generate", "a cat", "--json", url="http://127.0.0.1:1")
    assert outcome.code == 3
    assert "nothing was charged" in outcome.err
    document = only_json(outcome)
    assert (document["task_id"], document["charged"]) == (None, "no")


def test_a_wrong_key_names_the_variable_to_check(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "wrong")
    outcome = run("result", "t-1", url=banana_server.url)
    assert outcome.code == 3
    assert "401" in outcome.err
    assert "MOUNTSEA_API_KEY" in outcome.err
    assert "wrong" not in outcome.err


def test_a_task_that_does_not_exist_is_not_offered_for_resumption(
    run: Run, banana_server: MockServer
) -> None:
    outcome = run("result", "t-1", "--json", url=banana_server.url)
    assert outcome.code == 3
    assert "resume the task" not in outcome.err
    assert only_json(outcome)["task_id"] == "t-1"


def test_an_invalid_task_id_names_the_argument(run: Run) -> None:
    outcome = run("result", " ")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "error: TASK_ID must be the string that a submission returned, not ' '\n"
    )


def test_a_wait_that_times_out_prints_the_command_that_resumes_the_task(run: Run) -> None:
    with FaultServer(SUBMITTED, snapshot("processing")) as server:
        outcome = run(
            *("generate", "a cat", "--timeout", "0", "--force"),
            *("-o", "c.png", "--base-url", server.url, "--json"),
        )
    assert outcome.code == 3
    assert f"\n  nano-banana result t-1 -o c.png --force --base-url {server.url}\n" in outcome.err
    assert "client.task" not in outcome.err
    assert "still running" in only_json(outcome)["error"]["message"]


def test_a_task_id_that_looks_like_an_option_can_be_resumed(run: Run, tmp_path: Path) -> None:
    submitted = Fault("submitted", response(201, {"taskId": "-t"}))
    done = {"taskId": "-t", "status": "completed", "result": {"imageUrls": ["http://a"]}}
    with FaultServer(submitted, Fault("done", response(200, done))) as server:
        outcome = run("generate", "a cat", "--no-wait", "-o", "c.png", url=server.url)
        assert "  nano-banana result -o c.png -- -t\n" in outcome.err
        outcome = run("result", "-o", "c.png", "--timeout", "0", "--", "-t")
    assert "  nano-banana result -o c.png -- -t\n" in outcome.err


def test_an_image_that_cannot_be_saved_is_not_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(SUBMITTED) as server:
        done = snapshot("completed", result={"imageUrls": [f"{server.url}/a.png"]})
        server.expect(SUBMITTED, snapshot("pending"), done, Fault("an image", response(200, PNG)))

        def create_file(self: Clock, seconds: float) -> None:
            Path("cat.png").write_bytes(b"mine")

        monkeypatch.setattr(Clock, "sleep", create_file)
        outcome = run("generate", "a cat", "-o", "cat.png", "--json", url=server.url)
        assert outcome.code == 3
        assert "the file exists; pass --force to replace it" in outcome.err
        assert "\n  nano-banana result t-1 -o other.png\n" in outcome.err
        assert only_json(outcome)["status"] == "completed"
        server.expect(Fault("an image", response(200, PNG)))
        assert run("result", "t-1", "-o", "other.png").out == "other.png\n"
    assert Path("cat.png").read_bytes() == b"mine"


def test_an_expired_url_prints_the_command_that_gets_a_fresh_one(run: Run) -> None:
    with FaultServer(SUBMITTED) as server:
        done = snapshot("completed", result={"imageUrls": [f"{server.url}/a.png"]})
        server.expect(SUBMITTED, done, Fault("gone", response(403)))
        outcome = run("generate", "a cat", "--no-ledger", url=server.url)
    assert outcome.code == 3
    assert (
        "may have expired\nresume the task, free of charge:\n  nano-banana result t-1"
        in outcome.err
    )


@pytest.mark.filterwarnings("default::mountsea_banana.ContractWarning")
def test_a_readable_response_that_violates_the_contract_is_a_warning(run: Run) -> None:
    with FaultServer(Fault("wrapped", response(201, {"data": {"taskId": "t-1"}}))) as server:
        outcome = run("generate", "a cat", "--no-wait", url=server.url)
    assert (outcome.code, outcome.out) == (0, "t-1\n")
    assert "warning: the response to a submission was wrapped in `data`; task t-1" in outcome.err
    assert ".py" not in outcome.err


LEDGER_ERRORS = {name: getattr(ledger, name) for name in ("InDoubt", "KeyConflict", "LedgerError")}


def test_every_error_of_the_library_has_an_exit_code() -> None:
    named = [getattr(api, name) for name in api.__all__]
    kinds = {
        each for each in named if isinstance(each, type) and issubclass(each, api.NanoBananaError)
    }
    codes = {kind.__name__: exit_code(kind.__new__(kind)) for kind in kinds}
    codes |= {name: exit_code(kind.__new__(kind)) for name, kind in LEDGER_ERRORS.items()}
    assert {name: code for name, code in codes.items() if code != 3} == {
        "InDoubt": 4,
        "KeyConflict": 2,
        "TaskFailed": 1,
        "InvalidRequest": 2,
        "ConfigurationError": 2,
        "SubmissionUnknown": 4,
        "SubmissionServerError": 4,
        "SubmissionUnreadable": 4,
    }


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


def test_an_unexpected_error_keeps_the_task_id(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.Task, "wait", fail)
    outcome = run("generate", "a cat", "--json", url=banana_server.url)
    document = only_json(outcome)
    assert (outcome.code, document["charged"]) == (3, "yes")
    assert "error: unexpected RuntimeError: a bug\nresume the task" in outcome.err
    assert f"nano-banana result {document['task_id']}\n" in outcome.err


def test_an_unexpected_error_in_a_submission_has_an_unknown_outcome(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.NanoBanana, "submit", fail)
    outcome = run("generate", "a cat", "--no-ledger", "--json", url=banana_server.url)
    assert (outcome.code, only_json(outcome)["charged"]) == (4, "unknown")


# Interrupts


@pytest.mark.parametrize("number", ENDING)
def test_an_interrupted_wait_prints_the_command_that_resumes_the_task(
    number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(SUBMITTED, snapshot("processing")) as server:
        monkeypatch.setattr(Clock, "sleep", lambda self, seconds: signal.raise_signal(number))
        outcome = run("generate", "a cat", "-o", "cat.png", "--json", url=server.url)
    assert outcome.code == 130
    assert "interrupted: task t-1 is still running" in outcome.err
    assert "\n  nano-banana result t-1 -o cat.png\n" in outcome.err
    assert only_json(outcome)["status"] == "processing"
    # A second signal must not cut the report short.
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_command_that_is_not_interrupted_restores_the_signal_handlers(
    run: Run, banana_server: MockServer
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run("generate", "a cat", url=banana_server.url).code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupt_before_the_submission_reports_that_nothing_was_sent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(httpx, "Client", interrupt)
    outcome = run("generate", "a cat")
    assert (outcome.code, outcome.err) == (130, "interrupted: nothing was sent\n")


def test_an_interrupt_right_after_the_submission_reports_that_the_outcome_is_unknown(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api.Task, "id", property(interrupt))
    outcome = run("generate", "a cat", url=banana_server.url)
    assert outcome.code == 130
    assert outcome.err.startswith("interrupted: no response had arrived, so the outcome is unknown")


def test_an_interrupt_in_a_pause_reports_that_nothing_was_charged(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    banana_server.next_task(Plan(refusals=1))
    monkeypatch.setattr(Clock, "sleep", lambda *_: signal.raise_signal(signal.SIGINT))
    outcome = run("generate", "a cat", url=banana_server.url)
    message = "interrupted: a submission was interrupted, and nothing was charged\n"
    assert (outcome.code, outcome.err) == (130, message)


def test_a_background_job_ignores_ctrl_c(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(Clock, "sleep", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run("generate", "a cat", url=banana_server.url).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_during_a_submission_causes_no_traceback(
    number: signal.Signals, child: Callable[..., Any]
) -> None:
    with FaultServer(Fault("silent", charges=True, stalls=True)) as server:
        process = child("generate", "a cat", url=server.url)
        deadline = time.monotonic() + 20
        while not server.posts and time.monotonic() < deadline:
            select.select([], [], [], 0.01)
        process.send_signal(number)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("interrupted: a submission was interrupted before its response: it may")
    assert "Traceback" not in err


def test_an_interrupt_outside_a_task_has_the_same_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(request: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_check, "check_request", interrupt)
    assert run("rules", "--check", "{}").code == 130


# Streams and terminals


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--no-wait",)])
def test_a_full_stdout_is_an_error_after_the_task_id_is_printed(
    arguments: tuple[str, ...], run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Path("/dev/full").open("w", encoding="utf-8") as full:
        patch.setattr(sys, "stdout", full)
        outcome = run("generate", "a cat", *arguments, url=banana_server.url)
    assert outcome.code == 3
    assert outcome.err.startswith("task ")
    assert "error: cannot write to stdout: " in outcome.err


def test_a_full_stderr_does_not_keep_the_image_from_being_saved(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Path("/dev/full").open("w", encoding="utf-8") as full:
        patch.setattr(sys, "stderr", full)
        outcome = run("generate", "a cat", "-o", "cat.png", url=banana_server.url)
    assert (outcome.code, outcome.out) == (0, "cat.png\n")


def test_closed_pipes_cause_no_traceback_and_the_image_is_saved(
    child: Callable[..., Any], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = child("generate", "a cat", "-o", "a.png", stderr=writer)
    assert process.communicate(timeout=20) == ("a.png\n", None)
    assert process.returncode == 0
    process = child("generate", "a cat", "-o", "b.png", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "Traceback" not in err
    assert err.startswith("task ")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_a_broken_pipe_on_stderr_does_not_end_the_command(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, os.fdopen(writer, "w") as closed:
        patch.setattr(sys, "stderr", closed)
        outcome = run("generate", "a cat", "-o", "cat.png", url=banana_server.url)
    assert (outcome.code, outcome.out) == (0, "cat.png\n")


@pytest.mark.parametrize(
    ("term", "arguments", "has_spinner"),
    [
        ("xterm", (), True),
        ("xterm", ("--json",), True),
        ("xterm", ("-q",), False),
        ("dumb", (), False),
    ],
)
def test_a_terminal_shows_a_spinner(
    term: str,
    arguments: tuple[str, ...],
    has_spinner: bool,
    run: Run,
    terminal: None,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", term)
    outcome = run("generate", "a cat", "-o", "cat.png", *arguments, url=banana_server.url)
    assert outcome.code == 0
    assert ("\x1b[?25l" in outcome.err) == has_spinner
    assert ("processing\n" in outcome.err) == (not has_spinner and not arguments)
    if has_spinner:
        assert re.search(r"processing (\x1b\[33m)?0:00:0", outcome.err)
        assert "done in" in outcome.err.rpartition("\x1b[?25h")[2]


COLOUR = re.compile(r"\x1b\[(?:\d+;)*[349]\d")


def test_a_pipe_gets_whole_lines_and_no_spinner_even_if_colours_are_forced(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    plain = [run("generate", "a cat", "--resolution", "2K").err, run("rules").out]
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = [run("generate", "a cat", "--resolution", "2K").err, run("rules").out]
    assert COLOUR.search(coloured[0])
    assert [re.sub(r"\x1b\[[\d;]*m", "", each) for each in coloured] == plain
    outcome = run("generate", "a cat", url=banana_server.url)
    assert "processing\n" in outcome.err
    assert "\x1b[?25l" not in outcome.err


def test_no_color_is_respected(
    run: Run, terminal: None, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_colour = run("generate", "a cat", "--resolution", "2K")
    assert COLOUR.search(with_colour.err)
    monkeypatch.setenv("NO_COLOR", "1")
    without = run("generate", "a cat", "--resolution", "2K").err
    without += run("generate", "a cat", url=banana_server.url).err
    without += run("rules").out
    assert not COLOUR.search(without)


def read_terminal(process: subprocess.Popen[str], master: int) -> str:
    """Return everything that a process writes to its terminal."""
    output = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        output += part
    process.wait(timeout=20)
    return output.decode()


def test_a_real_terminal_shows_the_spinner_and_gets_its_cursor_back(
    child: Callable[..., Any],
) -> None:
    master, slave = pty.openpty()
    process = child(
        *("generate", "a cat", "-o", "cat.png"), stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    output = read_terminal(process, master)
    os.close(master)
    assert process.returncode == 0
    assert re.search(r"processing .*0:00:0", output)
    assert output.index("\x1b[?25l") < output.index("\x1b[?25h") < output.index("cat.png")
    assert output.endswith("cat.png\r\n")


# JSON on every exit


@pytest.mark.parametrize("arguments", [("--flavour",), ("two",), ("-r", "9K"), ("-o", "-")])
def test_a_usage_error_is_an_object_as_well(arguments: tuple[str, ...], run: Run) -> None:
    outcome = run("generate", "a cat", *arguments, "--json")
    document = only_json(outcome)
    assert (outcome.code, document["charged"]) == (2, "no")
    assert document["error"]["type"] == "UsageError"
    assert document["error"]["message"] in outcome.err.replace("\n", " ")
    quiet = run("generate", "a cat", *arguments, "--json", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (2, outcome.out, "")


def test_after_two_dashes_json_is_a_word(run: Run) -> None:
    assert run("generate", "--", "a", "--json").out == ""


def test_json_on_a_full_stdout_is_a_file_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["generate", "--json"]) == 3


def test_quiet_json_prints_nothing_else(run: Run, banana_server: MockServer) -> None:
    banana_server.next_task(Plan(ends_as="failed"))
    for code in (1, 0):
        outcome = run("generate", "a cat", "--json", "--quiet", url=banana_server.url)
        assert (outcome.code, outcome.err) == (code, "")
        assert only_json(outcome)["charged"] == "yes"


def test_quiet_prints_only_what_went_wrong(run: Run, banana_server: MockServer) -> None:
    assert run("generate", "a cat", "-q", "--no-wait", url=banana_server.url).err == ""
    outcome = run("generate", "a cat", "-q", "--timeout", "0")
    assert outcome.err.startswith("error: task ")
    assert "\nresume the task, free of charge:\n  nano-banana result " in outcome.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("a bug"), 3, "unexpected RuntimeError: a bug"),
        (EOFError(), 130, "interrupted"),
    ],
)
def test_what_ends_a_command_early_is_an_object_as_well(
    error: Exception, code: int, message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mountsea_banana.cli._prompts.read_prompt", raise_error)
    outcome = run("generate", "a cat", "--json")
    assert outcome.code == code
    assert message in outcome.err
    assert message in only_json(outcome)["error"]["message"]


# Other commands


def test_rules_are_a_table_on_a_terminal_and_lines_on_a_pipe(
    run: Run, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run("rules").out.splitlines()
    assert lines == [f"{rule.id}\t{rule.sentence}" for rule in _rules.RULES]
    request.getfixturevalue("terminal")
    monkeypatch.setenv("COLUMNS", "40")
    table = run("rules").out
    assert "┏" in table
    lines = re.sub(r"\x1b\[\d*m", "", table).splitlines()
    assert {len(line) for line in lines} == {40}
    assert "…" not in table


def test_rules_check_needs_no_key_and_no_network(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOUNTSEA_API_KEY")
    outcome = run("rules", "--check", '{"prompt": "a cat", "action": "generate"}')
    assert (outcome.code, outcome.out) == (0, "the request conforms to the rules\n")
    outcome = run("rules", "--check", '{"prompt": "x", "action": "edit", "num_images": 2}')
    assert outcome.code == 2
    assert len(outcome.out.splitlines()) == 2
    assert "(edit-needs-image-urls)" in outcome.out
    assert "(one-image-only)" in outcome.out


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_rules_check_rejects_invalid_json(text: str, run: Run) -> None:
    outcome = run("rules", "--check", text)
    assert outcome.code == 2
    assert "--check: not valid JSON" in outcome.err


@pytest.mark.parametrize(
    ("text", "code"), [(b'{"prompt": "x", "action": "generate"}', 0), (b"[]", 2), (b"\xff", 2)]
)
def test_rules_check_reads_stdin(text: bytes, code: int, child: Callable[..., Any]) -> None:
    process = child("rules", "--check", "-", stdin=subprocess.PIPE)
    process.stdin.buffer.write(text)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err


def test_mock_passes_its_arguments_on(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    outcome = run("mock", "--port", banana_server.url.rpartition(":")[2])
    assert outcome.code == 2
    assert "in use" in outcome.err
    with pytest.raises(SystemExit) as caught:
        main(["mock", "--help"])
    assert caught.value.code == 0
    assert "usage: nano-banana mock" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = run("mock")
    assert outcome.code == 2
    assert "uvicorn is missing: pip install 'mountsea-banana[mock]'" in outcome.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str, run: Run) -> None:
    outcome = run("completion", shell)
    assert outcome.code == 0
    assert f"_NANO_BANANA_COMPLETE={shell}_complete" in outcome.out


def test_bash_completes_the_values_of_an_option(tmp_path: Path) -> None:
    command = tmp_path / "nano-banana"
    command.write_text(f"#!{sys.executable}\n{CHILD}")
    command.chmod(0o755)
    script = (
        f"PATH={tmp_path}:$PATH; " + 'eval "$(nano-banana completion bash)"; '
        "COMP_WORDS=(nano-banana generate --model nano); COMP_CWORD=3; "
        '_nano_banana_completion nano-banana; echo "${COMPREPLY[@]}"'
    )
    # Without a terminal, bash warns on stderr that it has no compopt.
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == list(get_args(api.Model))


@pytest.mark.parametrize("arguments", [(), ("generate",), ("edit",), ("result",)])
def test_help_lists_the_exit_codes(arguments: tuple[str, ...], run: Run) -> None:
    outcome = run(*arguments, "--help")
    assert outcome.code == 0
    for code in ("0    succ", "1    the task", "2    usage", "3    net", "4    unkn", "130  inter"):
        assert f"\n    {code}" in outcome.out


def test_help_does_not_import_what_only_a_task_needs(tmp_path: Path) -> None:
    code = (
        "import sys; from mountsea_banana.cli import main; main(['--help'])\n"
        "print([n for n in sys.modules if n.startswith(('mountsea_banana.', 'mountsea_api'))])"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "mountsea_banana.cli._commands" in output
    assert "_follow" not in output
    assert "mountsea_api" not in output


def test_help_does_not_import_slow_modules() -> None:
    code = "import sys; from mountsea_banana.cli import main; main(['--help']); print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    modules = set(output.splitlines()[-1].split())
    assert "click" in modules
    assert modules & {"httpx", "asyncio", "rich.progress", "mountsea_api"} == set()


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_names_the_command_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main([]) == 2
    message = capsys.readouterr().err
    assert message == f"nano-banana: {missing} is missing: pip install 'mountsea-banana[cli]'\n"


def test_a_process_without_the_extra_prints_no_traceback() -> None:
    code = (
        "import sys; sys.modules['click'] = sys.modules['rich'] = None\n"
        "from mountsea_banana.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["rules"], ["rules", "--check", "{}"], ["--help"]])
def test_a_full_stdout_is_reported_with_the_exit_code_of_a_file_error(
    command: list[str], child: Callable[..., Any]
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = child(*command, stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert err == "cannot write to stdout: [Errno 28] No space left on device\n"


def test_rules_exits_with_3_on_a_full_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["rules", "--check", "{}"]) == 3
    assert "No space left" in capsys.readouterr().err


def test_a_broken_download_can_be_resumed_with_the_same_options(
    run: Run, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(truncates=True))
    outcome = run("generate", "a cat", "-o", "cat.png", "--force", url=banana_server.url)
    assert outcome.code == 3
    assert outcome.err.rstrip().endswith("-o cat.png --force")


def test_an_interrupt_while_the_commands_are_imported_has_the_same_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("mountsea_banana.cli._commands.run", interrupt)
    assert main([]) == 130


@pytest.mark.parametrize("option", ["--version", "-h"])
def test_the_group_has_the_usual_options(option: str, run: Run) -> None:
    outcome = run(option)
    assert outcome.code == 0
    assert outcome.out.startswith(f"nano-banana {api.__version__}" if option[1] == "-" else "Usage")


def test_every_command_has_a_short_line_in_the_help(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = run("-h").out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert {line.split()[0] for line in listed} >= {"generate", "list", "ledger", "mock"}
    assert max(len(line) for line in listed) <= 70
    assert not any(line.endswith("...") for line in listed)


def test_a_closed_stdout_is_an_error_before_anything_is_sent(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        outcome = run("generate", "a cat", url=banana_server.url)
    assert (outcome.code, banana_server.charged) == (3, 0)
    assert outcome.err == "stdout is closed: redirect it to /dev/null if you don't need it\n"


def test_stdout_may_be_replaced(run: Run) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["--version"]) == 0
    assert out.getvalue().startswith("nano-banana ")


def test_a_closed_stdin_has_no_prompt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    outcome = run("generate", "-")
    assert outcome.code == 2
    assert "the prompt could not be read from stdin" in outcome.err


def test_a_text_that_the_encoding_lacks_is_escaped(
    child: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    (tmp_path / "prompt.txt").write_text("猫", encoding="utf-8")
    out, err = child("generate", "--prompt-file", "prompt.txt", "--dry-run").communicate(timeout=60)
    assert out == '{"action": "generate", "prompt": "\\u732b"}\n'
    assert "Traceback" not in err


def test_the_options_of_the_mock_are_completed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_NANO_BANANA_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "nano-banana mock --ref")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == "plain,--refusals\nplain,--refusal-status\n"
