"""The command line, run against the real mock and against servers that fail."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mountsea_banana as api
import pytest
from mountsea_banana import Clock
from mountsea_banana.cli import main
from mountsea_banana.cli._failures import exit_code
from mountsea_banana.mock import MockServer, Plan
from mountsea_banana.rules import _check, _rules

from tests.faults import Fault, FaultServer, answer
from tests.test_images import PNG

SUBMITTED = Fault("submitted", answer(201, {"taskId": "t-1"}), charges=True)
# A command in a process of its own, that waits no real time between two looks.
CHILD = (
    "import sys\n"
    "from mountsea_banana import Clock\n"
    "from mountsea_banana.cli import main\n"
    "Clock.sleep = lambda self, seconds: None\n"
    "sys.exit(main())"
)


def look(status: str, **fields: object) -> Fault:
    return Fault(status, answer(200, {"taskId": "t-1", "status": status, **fields}))


class Ran:
    """What came of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Ran]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command in an empty folder, against the server at `url`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    slept = [0.0]
    monkeypatch.setattr(Clock, "sleep", lambda self, seconds: slept.append(seconds))
    monkeypatch.setattr(Clock, "monotonic", lambda self: sum(slept))

    def run(*arguments: str, url: str | None = None) -> Ran:
        if url:
            monkeypatch.setenv("MOUNTSEA_BASE_URL", url)
        code = main(arguments)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def child(tmp_path: Path, banana_server: MockServer) -> Iterator[Callable[..., Any]]:
    """Start a command in a process of its own, and end it should a test not have done so."""
    started = []

    def start(*arguments: str, url: str = banana_server.url, **options: Any) -> Any:
        environment = {**os.environ, "MOUNTSEA_API_KEY": "test-token", "MOUNTSEA_BASE_URL": url}
        command = [sys.executable, "-c", CHILD, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def only_json(ran: Ran) -> dict[str, Any]:
    assert ran.out.count("\n") == 1
    document: dict[str, Any] = json.loads(ran.out)
    assert list(document) == [
        *("task_id", "status", "path", "image_urls", "error_message", "error_code", "trace_id")
    ]
    return document


# A task, from its submission to its file


def test_generate_saves_the_picture_and_prints_its_path_alone(
    run: Run, banana_server: MockServer
) -> None:
    ran = run(
        *("generate", "a cat", "--model", "nano-banana-2", "--aspect-ratio", "8:1"),
        *("--resolution", "2K", "-o", "cat.png"),
        url=banana_server.url,
    )
    assert (ran.code, ran.out) == (0, "cat.png\n")
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
    lines = ran.err.splitlines()
    assert re.fullmatch(r"task [\w-]{22}", lines[0])
    assert lines[1:-1] == ["pending", "processing", "completed"]
    assert re.fullmatch(r"done in \d+ s", lines[-1])


def test_edit_sends_every_address(run: Run, banana_server: MockServer) -> None:
    urls = ["https://a.example/1.png", "https://a.example/2.png"]
    assert run("edit", "make it red", *urls, "-o", "out.png", url=banana_server.url).code == 0
    assert banana_server.submissions == [
        {"action": "edit", "prompt": "make it red", "image_urls": urls}
    ]


def test_a_file_without_a_name_is_named_after_the_task(run: Run, banana_server: MockServer) -> None:
    ran = run("generate", "a cat", url=banana_server.url)
    (path,) = Path().iterdir()
    assert ran.out == f"{path}\n"
    assert f"task {path.stem}" in ran.err


def test_no_wait_prints_the_id_that_result_picks_up(run: Run, banana_server: MockServer) -> None:
    ran = run("generate", "a cat", "--no-wait", "-o", "a cat.png", url=banana_server.url)
    task_id = ran.out.strip()
    assert ran.code == 0
    assert "nano-banana result " in ran.err
    assert "-o 'a cat.png'" in ran.err
    assert list(Path().iterdir()) == []
    assert run("result", "-o", "x.png", "--", task_id).out == "x.png\n"


def test_json_is_one_object_and_nothing_else(run: Run, banana_server: MockServer) -> None:
    ran = run("generate", "a cat", "-o", "cat.png", "--json", url=banana_server.url)
    done = only_json(ran)
    assert (done["status"], done["path"], done["error_message"]) == ("completed", "cat.png", None)
    assert done["image_urls"] == [f"{banana_server.url}/pictures/{done['task_id']}.png"]
    begun = only_json(run("generate", "a cat", "--no-wait", "--json"))
    task_id = begun.pop("task_id")
    assert task_id
    assert set(begun.values()) == {None}


# What goes wrong before anything is paid for


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resolution", "2K"), ["--resolution works only with", "or omit it"]),
        (("--aspect-ratio", "8:1"), ["--aspect-ratio 8:1 works only with nano-banana-2"]),
        (("--aspect-ratio", "1:8", "--resolution", "4K"), ["--aspect-ratio 1:8", "--resolution"]),
        (("--model", "nano-banana-9"), ["'--model'", "nano-banana-pro"]),
        (("--timeout", "-1"), ["'--timeout'", "from 0 up, not -1.0"]),
        (("--timeout", "nan"), ["'--timeout'", "not nan"]),
        (("--timeout", "soon"), ["'--timeout'", "soon"]),
        (("--base-url", "http://api.example"), ["unencrypted"]),
        (("--flavour", "vanilla"), ["--flavour"]),
    ],
)
def test_bad_use_names_the_option_and_costs_no_request(
    arguments: tuple[str, ...], said: list[str], run: Run
) -> None:
    with FaultServer(SUBMITTED) as server:
        ran = run("generate", "a cat", *arguments, url=server.url)
    assert (ran.code, ran.out, server.requests) == (2, "", [])
    assert all(each in ran.err for each in said)


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ([], "URL is required for an edit: pass"),
        (
            ["https://a.example/a", "/resolution.png"],
            "URL 2 is '/resolution.png', which is not an http(s) URL with a host: upload",
        ),
        (
            ["ftp://a.example/a resolution"],
            "URL 1 is 'ftp://a.example/a resolution', which is not a valid URI: percent-encode",
        ),
    ],
)
def test_a_broken_rule_of_an_edit_names_the_url(urls: list[str], said: str, run: Run) -> None:
    ran = run("edit", "make it red", *urls)
    assert ran.code == 2
    assert f"error: {said}" in ran.err


def test_without_a_key_it_says_what_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOUNTSEA_API_KEY")
    ran = run("generate", "a cat")
    assert (ran.code, ran.out, ran.err) == (
        2,
        "",
        "error: there is no API key: set MOUNTSEA_API_KEY\n",
    )


@pytest.mark.parametrize("output", ["cat.png", "cat", "link.png"])
def test_a_file_in_the_way_is_found_before_anything_is_paid_for(output: str, run: Run) -> None:
    Path("cat.png").write_bytes(b"mine")
    Path("link.png").symlink_to("nowhere")
    with FaultServer(SUBMITTED) as server:
        ran = run("generate", "a cat", "-o", output, url=server.url)
    assert (ran.code, server.requests) == (2, [])
    assert f"error: --output {output}: " in ran.err
    assert "exists: pass --force to replace it" in ran.err
    assert Path("cat.png").read_bytes() == b"mine"


def test_force_overwrites_the_file(run: Run, banana_server: MockServer) -> None:
    Path("cat.png").write_bytes(b"mine")
    assert run("generate", "a cat", "-o", "cat.png", "--force", url=banana_server.url).code == 0
    assert Path("cat.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("file/cat.png", "file is not a folder"),
        ("n" * 300 + ".png", "File name too long"),
        ("closed/new/cat.png", "the folder closed is not writable"),
        ("closed", "the folder closed is not writable"),
    ],
)
def test_a_place_that_takes_no_file_is_found_before_anything_is_paid_for(
    output: str, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_bytes(b"")
    Path("closed").mkdir()
    access = os.access  # root may write everywhere
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "closed" and access(path, mode)
    )
    with FaultServer(SUBMITTED) as server:
        ran = run("generate", "a cat", "-o", output, url=server.url)
    assert (ran.code, server.requests) == (2, [])
    assert said in ran.err


def test_a_new_folder_is_made_for_the_picture(run: Run, banana_server: MockServer) -> None:
    ran = run("generate", "a cat", "-o", "new/folder/", url=banana_server.url)
    assert Path(ran.out.strip()).parent == Path("new/folder")


# What goes wrong afterwards


def test_a_failed_task_says_why(run: Run) -> None:
    failed = look("failed", errorMessage="no [b]cats", errorCode=7, traceId="tr-1")
    with FaultServer(SUBMITTED, look("processing"), look("processing"), failed) as server:
        ran = run("generate", "a cat", "--json", url=server.url)
    assert ran.code == 1
    assert ran.err.count("processing\n") == 1
    assert "error: task t-1 ended as failed: no [b]cats, error code 7, trace id tr-1" in ran.err
    assert "resume the task" not in ran.err
    assert only_json(ran) == {
        "task_id": "t-1",
        "status": "failed",
        "path": None,
        "image_urls": None,
        "error_message": "no [b]cats",
        "error_code": 7,
        "trace_id": "tr-1",
    }


def test_what_a_server_says_cannot_command_the_terminal_or_break_the_json(run: Run) -> None:
    failed = Fault(
        "failed",
        answer(
            200,
            b'{"taskId": "t-1", "status": "failed", "errorCode": NaN,'
            b' "errorMessage": "\\u001b[2J\\r\\ud800\\u009b\\u202e"}',
        ),
    )
    with FaultServer(SUBMITTED, look("\x1b[31mready\x07"), failed) as server:
        ran = run("generate", "a cat", "--json", url=server.url)
    assert ran.code == 1
    assert "\\x1b[31mready\\x07\n" in ran.err
    assert "\\x1b[2J\\r\\ud800\\x9b\\u202e" in ran.err
    assert ran.err.replace("\n", "").isprintable()
    assert ran.out.rstrip("\n").isprintable()
    assert only_json(ran)["error_code"] == "nan"


@pytest.mark.parametrize(
    ("faults", "said", "picks_up"),
    [
        ([Fault("500", answer(500), charges=True)], "may have been accepted and charged", False),
        ([Fault("closed", charges=True)], "check your account before you resend it", False),
        ([Fault("no id", answer(201, {}), charges=True)], "may have been charged", False),
        (
            [Fault("half", SUBMITTED.text[:-1], charges=True)],
            "Task t-1 was created\nresume the task",
            True,
        ),
    ],
)
def test_an_unknown_outcome_has_an_exit_code_of_its_own(
    faults: list[Fault], said: str, picks_up: bool, run: Run
) -> None:
    with FaultServer(*faults) as server:
        ran = run("generate", "a cat", "--json", url=server.url)
    assert (ran.code, server.charged) == (4, 1)
    assert said in ran.err
    assert "client.task" not in ran.err
    assert ("nano-banana result t-1" in ran.err) == picks_up
    assert bool(ran.out) == picks_up


def test_a_server_that_is_not_there_is_no_charge(run: Run) -> None:
    ran = run("generate", "a cat", "--json", url="http://127.0.0.1:1")
    assert (ran.code, ran.out) == (3, "")
    assert "nothing was charged" in ran.err


def test_a_wrong_key_says_where_to_look(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "wrong")
    ran = run("result", "t-1", url=banana_server.url)
    assert ran.code == 3
    assert "401" in ran.err
    assert "MOUNTSEA_API_KEY" in ran.err
    assert "wrong" not in ran.err


def test_a_task_that_nobody_knows_is_not_offered_again(run: Run, banana_server: MockServer) -> None:
    ran = run("result", "t-1", "--json", url=banana_server.url)
    assert ran.code == 3
    assert "resume the task" not in ran.err
    assert only_json(ran)["task_id"] == "t-1"
    assert run("result", " ").code == 2


def test_a_wait_that_takes_too_long_names_the_command_that_goes_on(run: Run) -> None:
    with FaultServer(SUBMITTED, look("processing")) as server:
        ran = run(
            *("generate", "a cat", "--timeout", "0", "--force"),
            *("-o", "c.png", "--base-url", server.url, "--json"),
        )
    assert ran.code == 3
    assert f"\n  nano-banana result t-1 -o c.png --force --base-url {server.url}\n" in ran.err
    assert "client.task" not in ran.err
    assert "still running" in only_json(ran)["error_message"]


def test_an_id_that_looks_like_an_option_is_picked_up_too(run: Run, tmp_path: Path) -> None:
    submitted = Fault("submitted", answer(201, {"taskId": "-t"}))
    done = {"taskId": "-t", "status": "completed", "result": {"imageUrls": ["http://a"]}}
    with FaultServer(submitted, Fault("done", answer(200, done))) as server:
        ran = run("generate", "a cat", "--no-wait", "-o", "c.png", url=server.url)
        assert "  nano-banana result -o c.png -- -t\n" in ran.err
        ran = run("result", "-o", "c.png", "--timeout", "0", "--", "-t")
    assert "  nano-banana result -o c.png -- -t\n" in ran.err


def test_a_picture_that_cannot_be_saved_is_not_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(SUBMITTED) as server:
        done = look("completed", result={"imageUrls": [f"{server.url}/a.png"]})
        server.expect(SUBMITTED, look("pending"), done, Fault("a picture", answer(200, PNG)))

        def make_file(self: Clock, seconds: float) -> None:
            Path("cat.png").write_bytes(b"mine")

        monkeypatch.setattr(Clock, "sleep", make_file)
        ran = run("generate", "a cat", "-o", "cat.png", "--json", url=server.url)
        assert ran.code == 3
        assert "the file exists: pass --force to replace it" in ran.err
        assert "\n  nano-banana result t-1 -o other.png\n" in ran.err
        assert only_json(ran)["status"] == "completed"
        server.expect(done, Fault("a picture", answer(200, PNG)))
        assert run("result", "t-1", "-o", "other.png").out == "other.png\n"
    assert Path("cat.png").read_bytes() == b"mine"


def test_an_expired_link_says_what_looks_again(run: Run) -> None:
    with FaultServer(SUBMITTED) as server:
        done = look("completed", result={"imageUrls": [f"{server.url}/a.png"]})
        server.expect(SUBMITTED, done, Fault("gone", answer(403)))
        ran = run("generate", "a cat", url=server.url)
    assert ran.code == 3
    assert ": resume the task for a fresh URL\n" in ran.err
    assert "\n  nano-banana result t-1\n" in ran.err


@pytest.mark.filterwarnings("default::mountsea_banana.ContractWarning")
def test_a_broken_contract_that_could_be_read_is_a_warning(run: Run) -> None:
    with FaultServer(Fault("wrapped", answer(201, {"data": {"taskId": "t-1"}}))) as server:
        ran = run("generate", "a cat", "--no-wait", url=server.url)
    assert (ran.code, ran.out) == (0, "t-1\n")
    assert "warning: the response to a submission was wrapped in `data`; task t-1" in ran.err
    assert ".py" not in ran.err


def test_every_error_of_the_library_has_its_exit_code() -> None:
    named = [getattr(api, name) for name in api.__all__]
    kinds = {
        each for each in named if isinstance(each, type) and issubclass(each, api.NanoBananaError)
    }
    codes = {kind.__name__: exit_code(kind.__new__(kind)) for kind in kinds}
    assert {name: code for name, code in codes.items() if code != 3} == {
        "TaskFailed": 1,
        "InvalidRequest": 2,
        "ConfigurationError": 2,
        "SubmissionUnknown": 4,
        "SubmissionServerError": 4,
        "SubmissionUnreadable": 4,
    }


# Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_wait_names_the_command_that_goes_on(
    number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(SUBMITTED, look("processing")) as server:
        monkeypatch.setattr(Clock, "sleep", lambda self, seconds: signal.raise_signal(number))
        ran = run("generate", "a cat", "-o", "cat.png", "--json", url=server.url)
    assert ran.code == 130
    assert "interrupted: task t-1 is still running" in ran.err
    assert "\n  nano-banana result t-1 -o cat.png\n" in ran.err
    assert only_json(ran)["status"] == "processing"
    assert signal.getsignal(number) is signal.SIG_IGN  # what is said is not cut short


def test_a_command_that_was_not_interrupted_leaves_the_signals_as_they_were(
    run: Run, banana_server: MockServer
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run("generate", "a cat", url=banana_server.url).code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupted_submission_says_that_its_outcome_is_unknown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(Fault("busy", answer(429))) as server:
        monkeypatch.setattr(Clock, "sleep", lambda *_: signal.raise_signal(signal.SIGINT))
        ran = run("generate", "a cat", "--json", url=server.url)
    assert (ran.code, ran.out) == (130, "")
    assert "the outcome is unknown: the request may have been accepted and charged" in ran.err


def test_an_interrupt_before_the_submission_says_that_nothing_was_sent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(httpx, "Client", interrupt)
    ran = run("generate", "a cat")
    assert (ran.code, ran.err) == (130, "interrupted: nothing was sent\n")


def test_a_background_job_does_not_end_by_ctrl_c(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(Clock, "sleep", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run("generate", "a cat", url=banana_server.url).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_during_a_submission_leaves_no_traceback(
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
    assert err.startswith("interrupted: there was no response yet")
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
def test_a_full_stdout_is_an_error_and_the_task_is_known(
    arguments: tuple[str, ...], run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr(sys, "stdout", full)
        ran = run("generate", "a cat", *arguments, url=banana_server.url)
    assert ran.code == 3
    assert ran.err.startswith("task ")
    assert "error: cannot write to stdout: " in ran.err


def test_a_full_stderr_does_not_keep_the_picture_back(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr(sys, "stderr", full)
        ran = run("generate", "a cat", "-o", "cat.png", url=banana_server.url)
    assert (ran.code, ran.out) == (0, "cat.png\n")


def test_closed_pipes_leave_no_traceback_and_the_picture_is_saved(
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
        ran = run("generate", "a cat", "-o", "cat.png", url=banana_server.url)
    assert (ran.code, ran.out) == (0, "cat.png\n")


MOVES = {"TERM": "xterm", "FORCE_COLOR": "1"}


@pytest.mark.parametrize(
    ("environment", "arguments", "moves"),
    [
        (MOVES, (), True),
        ({**MOVES, "PYTHONIOENCODING": "ascii"}, (), True),
        ({**MOVES, "TERM": "dumb"}, (), False),
        (MOVES, ("--quiet",), False),
        (MOVES, ("--json",), True),
        ({}, (), False),
    ],
)
def test_a_terminal_shows_one_moving_line(
    environment: dict[str, str],
    arguments: tuple[str, ...],
    moves: bool,
    run: Run,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = run("generate", "a cat", "-o", "cat.png", *arguments, url=banana_server.url)
    assert ran.code == 0
    assert ("\x1b[?25l" in ran.err) == moves
    assert ("processing\n" in ran.err) == (not moves)
    if moves:
        assert re.search(r"processing (\x1b\[33m)?0:00:0", ran.err)
        assert "done in" in ran.err.rpartition("\x1b[?25h")[2]


def test_no_color_is_respected(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in MOVES.items():
        monkeypatch.setenv(name, value)
    colour = re.compile(r"\x1b\[(?:\d+;)*[349]\d")
    with_colour = run("generate", "a cat", "--resolution", "2K")
    assert colour.search(with_colour.err)
    monkeypatch.setenv("NO_COLOR", "1")
    without = run("generate", "a cat", "--resolution", "2K").err
    without += run("generate", "a cat", url=banana_server.url).err
    without += run("rules").out
    assert not colour.search(without)


def on_a_terminal(process: subprocess.Popen[str], master: int) -> str:
    """Return all that a process writes to its terminal."""
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    process.wait(timeout=20)
    return shown.decode()


def test_a_real_terminal_shows_the_moving_line_and_gets_its_cursor_back(
    child: Callable[..., Any],
) -> None:
    master, slave = pty.openpty()
    process = child(
        *("generate", "a cat", "-o", "cat.png"), stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    shown = on_a_terminal(process, master)
    os.close(master)
    assert process.returncode == 0
    assert re.search(r"processing .*0:00:0", shown)
    assert shown.index("\x1b[?25l") < shown.index("\x1b[?25h") < shown.index("cat.png")
    assert shown.endswith("cat.png\r\n")


# The other commands


def test_rules_are_a_table_on_a_terminal_and_lines_on_a_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run("rules").out.splitlines()
    assert lines == [f"{rule.id}\t{rule.sentence}" for rule in _rules.RULES]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    table = run("rules").out
    assert "┏" in table
    lines = re.sub(r"\x1b\[\d*m", "", table).splitlines()
    assert {len(line) for line in lines} == {40}
    assert "…" not in table


def test_rules_check_judges_a_body_without_a_key_or_a_network(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOUNTSEA_API_KEY")
    ran = run("rules", "--check", '{"prompt": "a cat", "action": "generate"}')
    assert (ran.code, ran.out) == (0, "the request conforms to the rules\n")
    ran = run("rules", "--check", '{"prompt": "x", "action": "edit", "num_images": 2}')
    assert ran.code == 2
    assert len(ran.out.splitlines()) == 2
    assert "(edit-needs-image-urls)" in ran.out
    assert "(one-image-only)" in ran.out


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_rules_check_says_what_is_no_json(text: str, run: Run) -> None:
    ran = run("rules", "--check", text)
    assert ran.code == 2
    assert "--check: not valid JSON" in ran.err


@pytest.mark.parametrize(
    ("text", "code"), [(b'{"prompt": "x", "action": "generate"}', 0), (b"[]", 2), (b"\xff", 2)]
)
def test_rules_check_reads_stdin(text: bytes, code: int, child: Callable[..., Any]) -> None:
    process = child("rules", "--check", "-", stdin=subprocess.PIPE)
    process.stdin.buffer.write(text)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err


def test_mock_hands_its_arguments_on(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    ran = run("mock", "--port", banana_server.url.rpartition(":")[2])
    assert ran.code == 2
    assert "in use" in ran.err
    with pytest.raises(SystemExit) as caught:
        main(["mock", "--help"])
    assert caught.value.code == 0
    assert "usage: nano-banana mock" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = run("mock")
    assert ran.code == 2
    assert "uvicorn is missing: pip install 'mountsea-banana[mock]'" in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str, run: Run) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert f"_NANO_BANANA_COMPLETE={shell}_complete" in ran.out


def test_bash_completes_the_options_values(tmp_path: Path) -> None:
    command = tmp_path / "nano-banana"
    command.write_text(f"#!{sys.executable}\n{CHILD}")
    command.chmod(0o755)
    script = (
        f"PATH={tmp_path}:$PATH; " + 'eval "$(nano-banana completion bash)"; '
        "COMP_WORDS=(nano-banana generate --model nano); COMP_CWORD=3; "
        '_nano_banana_completion nano-banana; echo "${COMPREPLY[@]}"'
    )
    # Without a terminal bash has no compopt, and says so on stderr.
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "nano-banana-fast nano-banana-pro nano-banana-2\n"


@pytest.mark.parametrize("arguments", [(), ("generate",), ("edit",), ("result",)])
def test_help_names_the_exit_codes(arguments: tuple[str, ...], run: Run) -> None:
    ran = run(*arguments, "--help")
    assert ran.code == 0
    for code in ("0    succ", "1    the task", "2    usage", "3    net", "4    unkn", "130  inter"):
        assert f"\n    {code}" in ran.out


def test_help_brings_nothing_that_only_a_task_needs(tmp_path: Path) -> None:
    code = (
        "import sys; from mountsea_banana.cli import main; main(['--help'])\n"
        "print([n for n in sys.modules if n.startswith(('mountsea_banana.', 'mountsea_api'))])"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "mountsea_banana.cli._commands" in shown
    assert "_follow" not in shown
    assert "mountsea_api" not in shown


def test_help_does_without_what_takes_long_to_import() -> None:
    code = "import sys; from mountsea_banana.cli import main; main(['--help']); print(*sys.modules)"
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    modules = set(shown.splitlines()[-1].split())
    assert "click" in modules
    assert modules & {"httpx", "asyncio", "rich.progress", "mountsea_api"} == set()


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said == f"nano-banana: {missing} is missing: pip install 'mountsea-banana[cli]'\n"


def test_a_process_without_the_extra_leaves_no_traceback() -> None:
    code = (
        "import sys; sys.modules['click'] = sys.modules['rich'] = None\n"
        "from mountsea_banana.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["rules"], ["rules", "--check", "{}"], ["--help"]])
def test_a_stdout_that_is_full_is_said_and_is_no_failed_task(
    command: list[str], child: Callable[..., Any]
) -> None:
    with Path("/dev/full").open("w") as full:
        process = child(*command, stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert err == "cannot write to stdout: [Errno 28] No space left on device\n"


def test_a_full_stdout_ends_the_rules_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["rules", "--check", "{}"]) == 3
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["", "-"])
def test_an_output_that_is_no_path_is_refused_before_anything_is_sent(
    run: Run, banana_server: MockServer, path: str
) -> None:
    ran = run("generate", "a cat", "-o", path, url=banana_server.url)
    assert ran.code == 2
    assert "pass a file or a folder" in ran.err
    assert banana_server.charged == 0


def test_a_broken_download_is_picked_up_as_it_was_asked_for(
    run: Run, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(truncates=True))
    ran = run("generate", "a cat", "-o", "cat.png", "--force", url=banana_server.url)
    assert ran.code == 3
    assert ran.err.rstrip().endswith("-o cat.png --force")


def test_an_interrupt_while_the_commands_are_imported_has_the_same_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("mountsea_banana.cli._commands.run", interrupt)
    assert main([]) == 130
