"""The ledger of the command line: what was submitted, what is in doubt, and `--once`."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mountsea_banana import Clock
from mountsea_banana.ledger import Entry, LedgerError
from mountsea_banana.ledger._store import Store
from mountsea_banana.mock import MockServer, Plan

from tests.conftest import Run
from tests.faults import Fault, FaultServer, response
from tests.test_command_line import SUBMITTED, only_json, snapshot
from tests.test_images import PNG

LOST = Fault("closed", charges=True)


@pytest.fixture
def in_doubt(run: Run, ledger_file: Path) -> str:
    """A key that is in doubt, and whose response can no longer arrive."""
    with FaultServer(LOST) as server:
        assert run("generate", "a\tcat", "--once", "cat", url=server.url).code == 4
    let_time_pass(ledger_file)
    return "cat"


def let_time_pass(ledger_file: Path) -> None:
    """Make every submission look an hour older."""
    with sqlite3.connect(ledger_file) as connection:
        connection.execute(
            "UPDATE submissions SET claimed_at = claimed_at - 3600, ends_at = ends_at - 3600"
        )
    connection.close()


def rows(run: Run, *command: str) -> list[list[str]]:
    return [line.split("\t") for line in run(*command).out.splitlines()]


# Paid for at most once


def test_a_repeated_command_with_once_pays_once_and_finds_its_file(run: Run) -> None:
    command = ("generate", "a cat", "--once", "cover/42", "-o", "cat.png")
    with FaultServer() as server:
        done = snapshot("completed", result={"imageUrls": [f"{server.url}/a.png"]})
        server.expect(SUBMITTED, done, Fault("an image", response(200, PNG)))
        assert run(*command, url=server.url).out == "cat.png\n"
        server.expect(LOST)
        outcome = run(*command, "--json")
        assert (outcome.code, server.requests) == (0, [])
    assert "the ledger has this task for the key: nothing is charged" in outcome.err
    document = only_json(outcome)
    assert (document["key"], document["path"], document["charged"]) == ("cover/42", "cat.png", "no")


def test_an_edit_with_once_pays_once(run: Run, banana_server: MockServer) -> None:
    images = ("https://a.example/1.png", "--no-check-images")
    command = ("edit", "red", *images, "--once", "red", "--no-wait")
    assert run(*command, url=banana_server.url).out == run(*command).out
    assert banana_server.charged == 1


def test_without_once_every_command_pays(run: Run, banana_server: MockServer) -> None:
    for _ in range(2):
        assert run("generate", "a cat", "--no-wait", url=banana_server.url).code == 0
    assert banana_server.charged == 2
    assert len({row[1] for row in rows(run, "list")}) == 2


def test_a_key_of_another_request_is_bad_use(run: Run, banana_server: MockServer) -> None:
    run("generate", "a cat", "--once", "pet", "--no-wait", url=banana_server.url)
    outcome = run("generate", "a dog", "--once", "pet", "--json")
    assert (outcome.code, banana_server.charged) == (2, 1)
    assert "the key 'pet' is in use for something else" in outcome.err
    assert "resume the task" not in outcome.err
    document = only_json(outcome)
    assert (document["task_id"], document["charged"]) == (None, "no")


def test_a_failed_task_keeps_its_key_unless_a_new_attempt_is_wanted(
    run: Run, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(ends_as="failed"))
    command = ("generate", "a cat", "--once", "cat", "-o", "cat.png")
    for _ in range(2):
        outcome = run(*command, url=banana_server.url)
        assert (outcome.code, banana_server.charged) == (1, 1)
        assert "to make a new attempt, which is charged, pass --retry-failed" in outcome.err
    assert run(*command, "--retry-failed").out == "cat.png\n"
    assert banana_server.charged == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--once", "cat", "--no-ledger"), "--once needs the ledger"),
        (("--retry-failed",), "--retry-failed needs --once KEY"),
        (("--once", ""), "a key must be a string of 1 to 500 characters"),
    ],
)
def test_options_that_make_no_sense_are_rejected(
    options: tuple[str, ...], message: str, run: Run, banana_server: MockServer
) -> None:
    outcome = run("generate", "a cat", *options, url=banana_server.url)
    assert (outcome.code, banana_server.charged) == (2, 0)
    assert message in outcome.err


# In doubt


def test_a_lost_response_leaves_the_key_in_doubt_and_says_how_to_settle_it(run: Run) -> None:
    with FaultServer(LOST) as server:
        outcome = run("generate", "a cat", url=server.url)
    (row,) = rows(run, "ledger")
    key = row[1]
    assert outcome.code == 4
    assert outcome.err.endswith(
        "check your account before you resend it\n"
        "if your account shows its task:\n"
        f"  nano-banana ledger settle {key} TASK_ID\n"
        "if it shows none:\n"
        f"  nano-banana ledger release {key}\n"
    )
    assert row[2:] == ["in doubt", "", "", "a cat"]


def test_an_interrupt_while_the_ledger_cannot_be_written_says_how_to_settle_the_key(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(store: Store, entry: Entry, task_id: str) -> None:
        store.unrecorded[entry.claim] = entry, task_id
        signal.raise_signal(signal.SIGINT)
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Store, "accept", interrupt)
    outcome = run("generate", "a cat", "--once", "cat", "--json", url=banana_server.url)
    task_id = banana_server._api.tasks.all()[0].id
    assert f"nano-banana ledger settle cat {task_id}" in outcome.err
    result = only_json(outcome)
    assert (result["task_id"], result["charged"]) == (task_id, "yes")


def test_a_key_in_doubt_is_not_sent_again(run: Run, in_doubt: str) -> None:
    with FaultServer(SUBMITTED) as server:
        command = ("generate", "a\tcat", "--once", in_doubt, "--json")
        outcome = run(*command)
        assert (outcome.code, server.requests) == (4, [])
    assert "error: the key 'cat' is in doubt since " in outcome.err
    assert "nano-banana ledger settle cat TASK_ID" in outcome.err
    assert only_json(outcome)["charged"] == "unknown"
    assert "nano-banana ledger settle cat TASK_ID" in run("result", "cat").err


def test_a_settled_key_has_its_task(
    run: Run, in_doubt: str, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run("ledger", "settle", in_doubt, "t-1")
    assert outcome.code == 0
    assert outcome.err == (
        "cat is settled. Save its picture, free of charge:\n  nano-banana result t-1\n"
    )
    assert run("ledger").out == ""
    assert rows(run, "list")[0][1:4] == ["cat", "submitted", "t-1"]


def test_a_released_key_is_paid_for_again(run: Run, in_doubt: str) -> None:
    assert run("ledger", "release", in_doubt).err == "cat is released\n"
    assert rows(run, "list")[0][2] == "released"
    outcome = run("result", in_doubt, url="")
    assert (outcome.code, outcome.err) == (2, "error: the key 'cat' has no task: it was released\n")


def test_only_a_key_in_doubt_can_be_settled_or_released(
    run: Run, banana_server: MockServer
) -> None:
    assert run("ledger", "release", "cat").err == "error: there is no ledger yet\n"
    run("generate", "a cat", "--once", "cat", "--no-wait", url=banana_server.url)
    for command in (("settle", "cat", "t-1"), ("release", "cat")):
        outcome = run("ledger", *command)
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err == "error: the key 'cat' is not in doubt: it is accepted\n"


def test_a_key_is_not_released_while_its_response_may_still_arrive(run: Run) -> None:
    with FaultServer(LOST) as server:
        run("generate", "a cat", "--once", "cat", url=server.url)
    outcome = run("ledger", "release", "cat")
    assert outcome.code == 3
    assert "the key 'cat' cannot be released before" in outcome.err


def test_several_keys_in_doubt_are_settled_one_by_one(run: Run, in_doubt: str) -> None:
    with FaultServer(LOST) as server:
        run("generate", "a dog", "--once", "-dog", url=server.url)
    outcome = run("ledger")
    assert [line.split("\t")[1] for line in outcome.out.splitlines()] == ["cat", "-dog"]
    assert outcome.err.splitlines()[1:] == [
        "if your account shows its task:",
        "  nano-banana ledger settle KEY TASK_ID",
        "if it shows none:",
        "  nano-banana ledger release KEY",
    ]
    assert run("ledger", "settle", "--", "-dog", "t-1").code == 0


def test_a_killed_command_leaves_its_key_in_doubt(
    child: Callable[..., Any], run: Run, ledger_file: Path
) -> None:
    with FaultServer(Fault("silent", charges=True, stalls=True)) as server:
        process = child("generate", "a cat", url=server.url)
        for _ in iter(lambda: bool(server.posts), True):
            select.select([], [], [], 0.01)
        process.kill()
        process.wait()
    assert rows(run, "ledger")[0][2] == "being submitted"
    assert "0 charged, 0 in doubt, 1 being submitted\n" in run("ledger").err
    let_time_pass(ledger_file)
    assert "0 charged, 1 in doubt\n" in run("ledger").err
    assert rows(run, "list")[0][2] == "in doubt"


def test_an_interrupted_submission_says_how_to_settle_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "sleep", lambda *_: signal.raise_signal(signal.SIGINT))
    with FaultServer(Fault("silent", charges=True, stalls=True)) as server:
        timer = threading.Thread(target=interrupt_once_posted, args=[server])
        timer.start()
        outcome = run("generate", "a cat", "--json", url=server.url)
        timer.join()
    assert outcome.code == 130
    assert "nano-banana ledger settle " in outcome.err
    assert only_json(outcome)["charged"] == "unknown"


def interrupt_once_posted(server: FaultServer) -> None:
    while not server.posts:
        select.select([], [], [], 0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_task_that_could_not_be_recorded_is_not_lost(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "accept", fail)
        outcome = run("generate", "a cat", "--once", "cat", "--json", url=banana_server.url)
    document = only_json(outcome)
    task_id = document["task_id"]
    assert (outcome.code, document["charged"], banana_server.charged) == (3, "yes", 1)
    assert f"  nano-banana result {task_id}\n" in outcome.err
    assert f"record its task:\n  nano-banana ledger settle cat {task_id}\n" in outcome.err


# The ledger itself


def test_the_ledger_is_created_on_first_use_for_its_owner_only(
    run: Run, banana_server: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOUNTSEA_LEDGER")
    folder = tmp_path / "data" / "mountsea-banana"
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: folder)
    assert run("list", url=banana_server.url).err == "nothing has been submitted yet\n"
    assert run("ledger").err == "there is no ledger yet: nothing is in doubt\n"
    assert run("ledger", "export").out == ""
    assert run("result", "--last").err == "error: the ledger has no picture yet\n"
    assert not folder.exists()
    run("generate", "a cat", "--no-ledger", "--no-wait")
    assert not folder.exists()
    run("generate", "a cat", "--no-wait")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ledger.db").stat().st_mode) == 0o600
    assert len(rows(run, "list")) == 1


@pytest.mark.parametrize(
    "place", ["missing/ledger.db", "file/ledger.db", "corrupt.db", "mysql://host/db"]
)
def test_a_ledger_that_cannot_be_opened_is_an_error_before_anything_is_sent(
    place: str, run: Run, banana_server: MockServer
) -> None:
    Path("file").touch()
    Path("corrupt.db").write_bytes(b"no database" * 100)
    outcome = run("generate", "a cat", "--json", "--ledger", place, url=banana_server.url)
    assert (outcome.code, banana_server.charged) == (3, 0)
    assert outcome.err.startswith("error: ")
    assert outcome.err.endswith("; pass --no-ledger to do without it\n")
    assert only_json(outcome)["error"]["type"] == "LedgerError"
    assert run("generate", "a cat", "--no-ledger", "--no-wait").code == 0


def test_a_data_folder_that_cannot_be_created_is_an_error_before_anything_is_sent(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOUNTSEA_LEDGER")
    Path("file").touch()
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: Path("file/data"))
    outcome = run("generate", "a cat", url=banana_server.url)
    assert (outcome.code, banana_server.charged) == (3, 0)
    assert "the folder of the ledger could not be created" in outcome.err


@pytest.mark.parametrize(
    ("place", "library", "extra"),
    [("", "platformdirs", "cli"), ("postgresql://host/db", "psycopg", "ledger")],
)
def test_a_missing_library_names_its_extra_before_anything_is_sent(
    place: str,
    library: str,
    extra: str,
    run: Run,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOUNTSEA_LEDGER", place)
    monkeypatch.setitem(sys.modules, library, None)
    outcome = run("generate", "a cat", url=banana_server.url)
    message = f"error: {library} is missing: pip install 'mountsea-banana[{extra}]'\n"
    assert (outcome.code, outcome.out, outcome.err) == (2, "", message)
    assert banana_server.charged == 0


def test_a_missing_ledger_library_names_the_extra_of_the_command_line(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("mountsea_banana.ledger.Ledger", raising=False)
    monkeypatch.setitem(sys.modules, "mountsea_banana.ledger._ledger", None)
    outcome = run("generate", "a cat", url=banana_server.url)
    assert outcome.code == 2
    assert "is missing: pip install 'mountsea-banana[cli]'" in outcome.err
    assert banana_server.charged == 0


def test_a_missing_database_library_names_the_extra_and_no_ledger_needs_none(
    run: Run, banana_server: MockServer
) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from mountsea_banana.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "generate", "a cat", "--no-wait"]
    environment = {**os.environ, "MOUNTSEA_BASE_URL": banana_server.url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    message = "error: sqlalchemy is missing: pip install 'mountsea-banana[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    subprocess.check_call([*command, "--no-ledger"], env=environment, stdout=subprocess.DEVNULL)
    assert banana_server.charged == 1


def test_help_does_not_import_the_database() -> None:
    code = "import sys; from mountsea_banana.cli import main; main(['--help']); print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    modules = set(output.splitlines()[-1].split())
    assert modules & {"sqlalchemy", "sqlite3", "mountsea_banana.ledger"} == set()


# The history


def test_result_saves_the_last_picture_or_the_one_of_a_key(run: Run) -> None:
    with FaultServer() as server:
        done = snapshot("completed", result={"imageUrls": [f"{server.url}/a.png"]})
        image = Fault("an image", response(200, PNG))
        server.expect(SUBMITTED)
        run("generate", "a cat", "--once", "cat", "--no-wait", url=server.url)
        server.expect(done, image, image, image)
        assert rows(run, "list")[0][2:5] == ["submitted", "t-1", ""]
        assert run("result", "--last", "-o", "a.png").out == "a.png\n"
        assert rows(run, "list")[0][2:5] == ["completed", "t-1", "a.png"]
        assert run("result", "cat", "-o", "b.png").out == "b.png\n"
        assert run("result", "t-1", "-o", "c.png", "--json").code == 0
        assert len(server.requests) == 4  # the task was polled once


@pytest.mark.parametrize("arguments", [(), ("t-1", "--last")])
def test_result_needs_a_task_or_last(arguments: tuple[str, ...], run: Run) -> None:
    outcome = run("result", *arguments)
    assert outcome.code == 2
    assert "pass either a TASK or --last" in outcome.err


def test_a_task_of_another_server_is_not_polled(run: Run, banana_server: MockServer) -> None:
    with FaultServer(SUBMITTED) as server:
        run("generate", "a cat", "--no-wait", url=server.url)
    outcome = run("result", "t-1", url=banana_server.url)
    assert outcome.code == 2
    assert f"created at {server.url}, not at {banana_server.url}; pass --base-url" in outcome.err


def test_a_task_that_is_not_in_the_ledger_can_be_saved_as_well(
    run: Run, banana_server: MockServer
) -> None:
    task_id = run("generate", "a cat", "--no-ledger", "--no-wait", url=banana_server.url).out
    assert run("result", task_id.strip(), "-o", "a.png").out == "a.png\n"
    run("generate", "a dog", "--no-wait")
    assert run("result", task_id.strip(), "-o", "b.png").out == "b.png\n"
    assert "TASK_ID must have at most 1000 characters" in run("result", "x" * 1001).err


def test_list_shows_the_last_ten_pictures_or_all(run: Run, ledger_file: Path) -> None:
    with FaultServer(
        *[Fault("t", response(201, {"taskId": f"t-{n}"})) for n in range(12)]
    ) as server:
        for number in range(12):
            run("generate", f"{number}", "--no-wait", url=server.url)
    assert [row[-1] for row in rows(run, "list")] == [str(n) for n in range(2, 12)]
    assert [row[-1] for row in rows(run, "list", "--all")] == [str(n) for n in range(12)]
    assert run("list", "--ledger", "other.db").out == ""


def test_on_a_terminal_every_line_fits(
    run: Run,
    in_doubt: str,
    banana_server: MockServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = "a [bold]cat\x1b[2J " + "very " * 20
    run("generate", prompt, "-o", "cat.png", url=banana_server.url)
    request.getfixturevalue("terminal")
    monkeypatch.setenv("COLUMNS", "40")
    shown = re.sub(r"\x1b\[[\d;]*m", "", run("list").out)
    assert max(len(line) for line in shown.splitlines()) <= 40
    assert "cat  in doubt\n" in shown
    assert "  a [bold]cat\\x1b" in shown
    assert "…\n" in shown
    assert shown.endswith("  cat.png\n")
    shown = run("ledger").out
    assert "  the submission may have been sent" in shown
    assert "can be released" not in shown


def test_the_terminal_shows_when_a_submission_without_an_outcome_is_in_doubt(
    run: Run, in_doubt: str, ledger_file: Path, terminal: None
) -> None:
    with sqlite3.connect(ledger_file) as connection:
        connection.execute("UPDATE submissions SET state = 'claimed', ends_at = ends_at + 36000")
    connection.close()
    pattern = r"  in doubt from \d\d:\d\d:\d\d if its command no longer runs\n"
    assert re.search(pattern, run("ledger").out)


def test_the_terminal_shows_when_a_key_can_be_released(run: Run, terminal: None) -> None:
    with FaultServer(LOST) as server:
        run("generate", "a cat", url=server.url)
    assert re.search(r"  can be released from \d\d:\d\d:\d\d\n", run("ledger").out)


def test_the_ledger_is_exported_as_json_lines(run: Run, banana_server: MockServer) -> None:
    for prompt in ("a cat", "猫"):
        run("generate", prompt, "--no-wait", url=banana_server.url)
    exported = [json.loads(line) for line in run("ledger", "export").out.splitlines()]
    assert [each["request"]["prompt"] for each in exported] == ["a cat", "猫"]
    assert {each["state"] for each in exported} == {"accepted"}


def test_a_backup_is_a_ledger(run: Run, in_doubt: str) -> None:
    assert run("ledger", "backup", "copy.db").code == 0
    assert rows(run, "ledger", "--ledger", "copy.db") == rows(run, "ledger")
    outcome = run("ledger", "backup", "copy.db")
    assert outcome.code == 3
    assert "pass a new file" in outcome.err


def test_the_ledger_is_named_before_or_after_the_command(run: Run) -> None:
    with FaultServer(LOST) as server:
        run("generate", "a cat", "--ledger", "mine.db", "--once", "cat", url=server.url)
    let_time_pass(Path("mine.db"))
    outcome = run("ledger", "--ledger", "mine.db")
    assert "nano-banana ledger settle cat TASK_ID --ledger mine.db\n" in outcome.err
    assert "--ledger mine.db" in run("ledger", "settle", "cat", "t-1", "--ledger", "mine.db").err
    exported = run("ledger", "--ledger", "mine.db", "export").out
    assert json.loads(exported)["task_id"] == "t-1"
