"""`nano-banana batch` against the mock server."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mountsea_banana import Clock, batch
from mountsea_banana._shared.signals import ENDING
from mountsea_banana.batch import Draining, Outcome, Paused, Submitted, Waiting
from mountsea_banana.cli import main
from mountsea_banana.cli._batch_display import Display
from mountsea_banana.cli._screen import Screen
from mountsea_banana.ledger import Entry, LedgerError
from mountsea_banana.ledger._store import Store
from mountsea_banana.mock import MockServer, Plan

from .conftest import KEY
from .ledgers import end_claims, fail_to_record


class Result:
    """The exit code and the output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture
def run(
    tmp_path: Path,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Return a function that runs a batch in an empty folder."""

    async def sleep(clock: Clock, seconds: float) -> None:
        await banana_server.clock.sleep_async(seconds)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOUNTSEA_API_KEY", KEY)
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    # The environment of a terminal would change the output.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(Clock, "sleep_async", sleep)
    monkeypatch.setattr(Clock, "monotonic", lambda _: banana_server.clock.monotonic())

    def run(*arguments: str) -> Result:
        code = main(["batch", *arguments])
        output = capsys.readouterr()
        return Result(code, output.out, output.err)

    return run


def write(text: str, name: str = "jobs.jsonl") -> None:
    Path(name).write_text(text, "utf-8")


def files(folder: str = ".") -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


def cats(count: int) -> None:
    write("".join(f'{{"prompt": "cat {n}", "key": "cat-{n}"}}\n' for n in range(1, count + 1)))


# From the file to the pictures


def test_a_batch_saves_every_image_and_its_results(run: Run, banana_server: MockServer) -> None:
    cats(3)
    result = run("jobs.jsonl", "-o", "out")
    assert (result.code, result.out) == (0, "out/results.jsonl\n")
    assert result.err == "3 done, 3 charged now\ncontact sheet: out/index.html\n"
    assert files("out") == [*("cat-1.png", "cat-2.png", "cat-3.png", "index.html", "results.jsonl")]
    assert Path("jobs.jsonl.ledger.db").exists()
    assert banana_server.charged == 3


def test_a_table_has_its_results_in_a_table(run: Run) -> None:
    write("prompt\na cat\n", "jobs.csv")
    assert run("jobs.csv").out == "pictures/results.csv\n"


def test_a_batch_that_is_run_again_pays_for_nothing(run: Run, banana_server: MockServer) -> None:
    cats(3)
    assert run("jobs.jsonl").code == 0
    assert "3 done, 0 charged now" in run("jobs.jsonl").err
    assert banana_server.charged == 3


def test_the_rows_can_come_from_stdin(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = io.TextIOWrapper(io.BytesIO(b'{"prompt": "a cat"}\n'), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", rows)
    assert run("-", "--ledger", "my.db").code == 0
    assert Path("my.db").exists()
    assert banana_server.charged == 1


def test_rows_from_stdin_need_a_ledger(run: Run) -> None:
    result = run("-")
    assert result.code == 2
    assert "pass --ledger" in result.err


def test_json_prints_every_event_as_a_line(run: Run, banana_server: MockServer) -> None:
    cats(2)
    banana_server.next_task(Plan(refusals=1))
    result = run("jobs.jsonl", "--json", "--concurrency", "1")
    assert [event["event"] for event in result.events] == [
        *("paused", "submitted", "done", "submitted", "done", "finished")
    ]
    assert result.events[-1] == {"event": "finished", "done": 2, "charged": 2, "exit_code": 0}
    assert result.err == "contact sheet: pictures/index.html\n"


# Before anything is sent


def test_bad_rows_are_listed_and_nothing_is_sent(run: Run, banana_server: MockServer) -> None:
    write('{"prompt": "a cat"}\n{}\n{"prompt": "a", "resolution": "2K"}\n')
    result = run("jobs.jsonl")
    assert result.code == 2
    lines = result.err.splitlines()
    assert lines[0] == "invalid: line 2: prompt is required"
    assert lines[1].startswith("invalid: line 3: resolution works only with")
    assert lines[2] == (
        "error: nothing was sent: correct the rows, or pass --skip-invalid to leave them out"
    )
    assert banana_server.charged == 0
    assert files() == ["jobs.jsonl"]


def test_only_the_first_bad_rows_are_listed(run: Run) -> None:
    write("{}\n" * 1025)
    lines = run("jobs.jsonl").err.splitlines()
    assert len(lines) == 22
    assert lines[20] == "and 1,005 more"


def test_bad_rows_can_be_skipped_but_the_batch_does_not_succeed(run: Run) -> None:
    write('{"prompt": "a cat"}\n{}\n')
    result = run("jobs.jsonl", "--skip-invalid")
    assert result.code == 1
    assert "1 done, 1 skipped, 1 charged now" in result.err
    last = Path("pictures/results.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["error"] == "prompt is required"


def test_a_dry_run_counts_what_would_be_paid_for(run: Run, banana_server: MockServer) -> None:
    cats(2)
    dry = run("jobs.jsonl", "--dry-run")
    assert (dry.code, dry.out) == (0, "2 of 2 rows would be paid for; nothing was sent\n")
    assert files() == ["jobs.jsonl"]
    assert run("jobs.jsonl").code == 0
    cats(5)
    counts = {"event": "dry run", "rows": 5, "invalid": 0, "to_pay": 3}
    assert run("jobs.jsonl", "--dry-run", "--json").events == [counts]
    assert banana_server.charged == 2


@pytest.mark.parametrize(
    ("text", "arguments", "problem"),
    [
        ("notes\nx\n", ["jobs.csv"], "the column 'notes' is unknown"),
        ("prompt\na\n", ["missing.csv"], "the rows cannot be read"),
        ("prompt\na\n", ["jobs.csv", "--ledger", "mysql://x/y"], "cannot be stored in mysql"),
        ("prompt\na\n", ["jobs.csv", "--base-url", "ftp://x"], "is not an https:// URL"),
        ("prompt\na\n", ["jobs.csv", "-o", "jobs.csv"], "is not a folder"),
        ("prompt\na\n", ["jobs.csv", "--concurrency", "0"], "0 is not in the range"),
    ],
)
def test_bad_use_is_an_error_before_anything_is_sent(
    run: Run, banana_server: MockServer, text: str, arguments: list[str], problem: str
) -> None:
    write(text, "jobs.csv")
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert problem in result.err
    assert banana_server.charged == 0


def test_without_a_key_nothing_is_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cats(1)
    monkeypatch.delenv("MOUNTSEA_API_KEY")
    result = run("jobs.jsonl")
    assert (result.code, result.err) == (
        2,
        "error: the API key is missing; set MOUNTSEA_API_KEY\n",
    )


@pytest.mark.parametrize(("module", "extra"), [("sqlalchemy", "cli"), ("psycopg", "ledger")])
def test_a_missing_library_is_named_with_its_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    cats(1)
    if module == "sqlalchemy":
        for name in [name for name in sys.modules if name.startswith("mountsea_banana.cli._batch")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "mountsea_banana.batch", None)
        module = "mountsea_banana.batch"
    else:
        monkeypatch.setitem(sys.modules, "psycopg", None)
    result = run("jobs.jsonl", "--ledger", "postgresql://127.0.0.1:1/x")
    assert result.code == 2
    assert f"{module} is missing: pip install 'mountsea-banana[{extra}]'" in result.err


# What fails


def test_a_failure_is_shown_and_is_in_the_results(run: Run, banana_server: MockServer) -> None:
    cats(2)
    banana_server.next_task(Plan(ends_as="failed"))
    result = run("jobs.jsonl", "--concurrency", "1")
    assert result.code == 1
    assert result.err.startswith("failed: cat-1 (line 1): task ")
    assert "1 done, 1 failed, 2 charged now" in result.err
    assert "1 without an image" in Path("pictures/index.html").read_text(encoding="utf-8")


def test_rows_in_doubt_are_named_and_outrank_failures(run: Run, banana_server: MockServer) -> None:
    cats(3)
    banana_server.next_task(Plan(ends_as="failed"))
    banana_server.next_task(Plan(drops=True))
    result = run("jobs.jsonl", "--concurrency", "1")
    assert result.code == 4
    assert "\nin doubt: cat-2 (line 2)\nthese may have been charged" in result.err


def test_a_task_that_the_ledger_could_not_record_is_kept_by_later_runs(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cats(2)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "accept", fail_to_record)
        result = run("jobs.jsonl", "--concurrency", "1")
    task_id = banana_server._api.tasks.all()[0].id
    assert result.code == 4
    assert f"\nin doubt: cat-1 (line 1): task {task_id}\n" in result.err
    end_claims("jobs.jsonl.ledger.db")
    for _ in range(2):
        result = run("jobs.jsonl")
        assert result.code == 4
        assert "could not record are in pictures/unrecorded.jsonl" in result.err
    (line,) = Path("pictures/unrecorded.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line) == {"key": "cat-1", "task_id": task_id}


def test_tasks_that_are_not_recorded_are_named_and_kept_however_the_batch_ends(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = [signal.SIGINT] * 3

    def interrupt(store: Store, entry: Entry, task_id: str) -> None:
        store.unrecorded[entry.claim] = entry, task_id
        while signals:
            signal.raise_signal(signals.pop())
        raise LedgerError("the server is gone")

    cats(1)
    monkeypatch.setattr(Store, "accept", interrupt)
    result = run("jobs.jsonl")
    task_id = banana_server._api.tasks.all()[0].id
    assert result.code == 130
    assert f"unrecorded: cat-1: task {task_id}\n" in result.err
    assert json.loads(Path("pictures/unrecorded.jsonl").read_text("utf-8"))["task_id"] == task_id


def test_tasks_that_cannot_be_kept_are_named(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cats(1)
    Path("pictures/unrecorded.jsonl").mkdir(parents=True)
    monkeypatch.setattr(Store, "accept", fail_to_record)
    result = run("jobs.jsonl")
    task_id = banana_server._api.tasks.all()[0].id
    assert f"unrecorded: cat-1: task {task_id}\n" in result.err
    assert "these tasks could not be written to a file" in result.err


def test_a_link_to_the_rows_has_no_ledger_of_its_own(run: Run, banana_server: MockServer) -> None:
    cats(2)
    assert run("jobs.jsonl").code == 0
    Path("today.jsonl").symlink_to("jobs.jsonl")
    assert run("today.jsonl").code == 0
    assert banana_server.charged == 2


def test_a_limit_ends_the_batch_and_says_how_to_go_on(run: Run) -> None:
    cats(3)
    result = run("jobs.jsonl", "--concurrency", "1", "--max-cost", "1")
    assert result.code == 1
    assert "1 done, 2 not started, 1 charged now" in result.err
    assert "stopped: the ledger already holds 1 submissions" in result.err
    assert "run the same command again" in result.err


def test_max_failures_and_retry_failed(run: Run, banana_server: MockServer) -> None:
    cats(3)
    banana_server.next_task(Plan(ends_as="failed"))
    assert (
        "2 not started, 1 failed"
        in run("jobs.jsonl", "--max-failures", "1", "--concurrency", "1").err
    )
    assert run("jobs.jsonl", "--retry-failed").code == 0
    assert banana_server.charged == 4


def test_results_that_cannot_be_written_are_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    cats(1)
    monkeypatch.setattr(batch, "write_contact_sheet", fail)
    result = run("jobs.jsonl")
    assert (result.code, result.out) == (1, "")
    assert "error: the results could not be written" in result.err
    assert Path("pictures/cat-1.png").exists()


def test_ctrl_c_outranks_rows_in_doubt(
    run: Run, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cats(3)
    banana_server.next_task(Plan(drops=True))
    show = Display.show

    def interrupt(display: Display, event: batch.Event) -> None:
        show(display, event)
        if isinstance(event, Outcome):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Display, "show", interrupt)
    result = run("jobs.jsonl", "--concurrency", "1")
    assert result.code == 130
    assert "interrupted: no more rows are started" in result.err
    assert "in doubt: cat-1 (line 1)" in result.err
    assert "run the same command again" in result.err


# Progress


def test_a_terminal_shows_a_bar_and_a_table(
    run: Run, terminal: None, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    cats(2)
    banana_server.next_task(Plan(ends_as="failed"))
    result = run("jobs.jsonl", "--concurrency", "1")
    assert result.code == 1
    for part in ("2/2", "rows/s", "2 charged, 1 failed", "│ charged now │ 2 │"):
        assert part in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs the terminals of Unix")
# The thread that draws the bar cannot draw either.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_batch_goes_on_if_its_terminal_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # or rich notices, and draws nothing more
    cats(2)
    terminal, end = os.openpty()
    show = Display.show

    def close(display: Display, event: batch.Event) -> None:
        if isinstance(event, Submitted) and event.number == 1:
            os.close(terminal)
        show(display, event)

    monkeypatch.setattr(Display, "show", close)
    with monkeypatch.context() as patch, os.fdopen(end, "w") as stderr:
        patch.setattr("sys.stderr", stderr)
        result = run("jobs.jsonl", "--concurrency", "1")
    assert (result.code, result.out) == (0, "pictures/results.jsonl\n")


def test_a_pipe_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 0.0, 5.0, 10.0, 15.0, 20.0])

    class Timed(Screen):
        @property
        def seconds(self) -> float:
            return next(times)

    screen = Timed()
    with Display(1000, screen, as_json=False) as display:
        display.show(Paused(0.4, "429"))
        display.show(Submitted(1, "k", "t"))
        for number in range(4):
            display.show(Outcome(number, "k", "done"))
    assert capsys.readouterr().err.splitlines() == [
        "paused: for 0 s: 429",
        "2 of 1,000 rows, 1 charged, 0 failed, 0.2 rows/s, 4,990 s left",
        "4 of 1,000 rows, 1 charged, 0 failed, 0.2 rows/s, 4,980 s left",
    ]


def test_a_pipe_gets_no_estimate_before_the_first_row_has_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Late(Screen):
        @property
        def seconds(self) -> float:
            return 30.0

    with Display(9, Late(), as_json=False) as display:
        display.show(Submitted(1, "k", "t"))
    assert capsys.readouterr().err == "0 of 9 rows, 1 charged, 0 failed, 0.0 rows/s\n"


def test_only_the_first_problems_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(100, Screen(), as_json=False) as display:
        for number in range(30):
            display.show(Outcome(number, "k", "failed", error="no"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "no further problems are shown; the results file has them all"


def test_the_task_of_every_row_in_doubt_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(100, Screen(), as_json=False) as display:
        for number in range(30):
            display.show(Outcome(number, "k", "in doubt", "t-1", error="task t-1 was created"))
    assert capsys.readouterr().err.count("task t-1 was created") == 30


@pytest.mark.parametrize(
    ("rows", "name", "content"),
    [
        ("jobs.jsonl", "results.jsonl", "mine"),
        ("jobs.jsonl", "results.jsonl", '{"mine": 1}\n'),
        ("jobs.jsonl", "results.jsonl", "[]\n"),
        ("jobs.csv", "results.csv", "number,key\n"),
        ("jobs.jsonl", "index.html", "<html>mine"),
        ("jobs.jsonl", "page-2.html", "<html>mine"),
    ],
)
def test_a_batch_does_not_replace_the_file_of_another_program(
    run: Run, banana_server: MockServer, rows: str, name: str, content: str
) -> None:
    write("prompt\na cat\n" if rows == "jobs.csv" else '{"prompt": "a cat"}\n', rows)
    Path("pictures").mkdir()
    write(content, f"pictures/{name}")
    result = run(rows, "--output", "pictures")
    assert result.code == 2
    assert "is not from a batch: pass another folder" in result.err
    assert Path("pictures", name).read_text(encoding="utf-8") == content
    assert banana_server.charged == 0


def test_a_batch_does_not_pay_if_its_results_cannot_be_written(
    run: Run, banana_server: MockServer
) -> None:
    cats(1)
    Path("pictures/results.jsonl").mkdir(parents=True)
    assert run("jobs.jsonl").code == 2
    assert banana_server.charged == 0


def test_a_batch_whose_results_are_empty_is_run_again(run: Run) -> None:
    cats(1)
    Path("pictures").mkdir()
    Path("pictures/results.jsonl").touch()
    assert [run("jobs.jsonl", "--output", "pictures").code for _ in range(2)] == [0, 0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the files of Linux")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_batch_that_cannot_write_to_stdout_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    cats(1)
    with monkeypatch.context() as patch, Path("/dev/full").open("w", encoding="utf-8") as full:
        patch.setattr("sys.stdout", full)
        result = run("jobs.jsonl", "--output", "pictures", *options)
    assert result.code == 1
    assert "error: cannot write to stdout: " in result.err
    assert files("pictures") == ["cat-1.png", "index.html", "results.jsonl"]


@pytest.mark.parametrize("name", ["results.jsonl", "index.html"])
def test_a_batch_does_not_replace_its_own_rows(
    run: Run, banana_server: MockServer, name: str
) -> None:
    cats(1)
    file = Path("jobs.jsonl").rename(name)
    before = file.read_text("utf-8")
    result = run(name, "--output", ".")
    assert (result.code, file.read_text("utf-8"), banana_server.charged) == (2, before, 0)
    assert "would replace its own rows" in result.err


@pytest.mark.parametrize("number", ENDING)
def test_a_request_to_end_while_the_results_are_written_says_how_to_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupt(*_: object) -> None:
        signal.raise_signal(number)

    cats(1)
    monkeypatch.setattr(batch, "write_results", interrupt)
    result = run("jobs.jsonl")
    assert result.code == 130
    assert "interrupted: run the same command again" in result.err
    assert "nothing was sent" not in result.err


def test_a_batch_goes_on_ignoring_sigterm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results = batch.write_results

    def interrupt(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        write_results(*arguments)

    cats(1)
    monkeypatch.setattr(batch, "write_results", interrupt)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run("jobs.jsonl").code == 0
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.filterwarnings("always::mountsea_banana.ContractWarning")
def test_a_warning_is_shown_as_a_line(run: Run, banana_server: MockServer) -> None:
    cats(1)
    banana_server.plan = Plan(shows="dreaming")
    assert "warning: task " in run("jobs.jsonl").err


@pytest.mark.parametrize("as_json", [True, False])
def test_the_end_of_a_batch_that_was_killed_says_what_it_waits_for(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    with Display(9, Screen(is_quiet=True), as_json=as_json) as display:
        display.show(Waiting(2, 210.4))
    output = capsys.readouterr()
    event = '{"event": "waiting", "rows": 2, "seconds": 210.4}\n'
    assert output.out == (event if as_json else "")
    assert output.err.startswith("waiting: 2 rows are being submitted") != as_json
    assert output.err.endswith("in doubt in at most 210 s\n") != as_json


@pytest.mark.parametrize(("submissions", "waits"), [(3, True), (0, False)])
def test_ctrl_c_says_what_it_waits_for(
    capsys: pytest.CaptureFixture[str], submissions: int, waits: bool
) -> None:
    with Display(9, Screen(), as_json=False) as display:
        display.show(Draining(submissions))
    message = capsys.readouterr().err
    assert message.startswith("interrupted: no more rows are started")
    assert ("waiting for the responses to 3 submissions" in message) == waits
