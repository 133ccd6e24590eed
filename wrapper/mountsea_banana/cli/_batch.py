"""Running a batch: from the file of its rows to the report."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from mountsea_banana import AsyncNanoBanana, ConfigurationError, NanoBananaError, batch
from mountsea_banana._shared.signals import ENDING
from mountsea_banana.batch import Report, Worklist
from mountsea_banana.batch._contact_sheet import is_contact_sheet
from mountsea_banana.batch._results import UNRECORDED, is_results, keep_unrecorded
from mountsea_banana.ledger import Ledger

from ._batch_display import Display
from ._failures import BAD_USE, DONE, INTERRUPTED, TASK_FAILED, UNKNOWN, explain
from ._screen import Screen, put

logging.getLogger("mountsea_banana").addHandler(logging.NullHandler())


@frozen
class Options:
    """The options of the command."""

    file: str
    """The rows; `-` for stdin."""
    output: str
    ledger: str | None
    """The path or URL of the ledger; None for a file beside the rows."""
    concurrency: int
    max_cost: int | None
    max_failures: int | None
    retry_failed: bool
    skip_invalid: bool
    dry_run: bool
    as_json: bool
    base_url: str | None

    @property
    def location(self) -> str:
        """The path or URL of the ledger."""
        # A symbolic link to the rows must not get a ledger of its own.
        is_link = Path(self.file).is_symlink()
        file = os.path.realpath(self.file) if is_link else self.file
        return self.ledger or f"{file}.ledger.db"


def run_batch(options: Options) -> int:
    """Run a batch, or count what it would pay for; return the exit code."""
    screen = Screen()
    try:
        with _interrupted_by_signals():
            return _run_batch(options, screen)
    except NanoBananaError as error:
        for sentence in explain(error):
            screen.say(sentence, "error")
        return BAD_USE
    except KeyboardInterrupt:  # pragma: no cover - it is tested, but not traced
        screen.say("run the same command again: no row is paid for twice", "interrupted")
        return INTERRUPTED


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let every signal that asks the program to end raise KeyboardInterrupt, as Ctrl-C does."""
    # What is ignored stays so, for example under nohup.
    signals = [each for each in ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for each in signals:
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)


def _run_batch(options: Options, screen: Screen) -> int:
    _check_files(options)
    source = sys.stdin.buffer if options.file == "-" else options.file
    with batch.read(source, skip_invalid=True) as rows:
        _say_invalid(rows, screen)
        if rows.states["skipped"] and not options.skip_invalid:
            advice = "correct the rows, or pass --skip-invalid to leave them out"
            screen.say(f"nothing was sent: {advice}", "error")
            return BAD_USE
        if options.dry_run:
            return _count(rows, options)
        client = AsyncNanoBanana(base_url=options.base_url, max_retries=0)
        display = Display(len(rows), screen, as_json=options.as_json)
        with Ledger(options.location) as ledger:
            try:
                report = _run(rows, ledger, client, options, display)
            finally:
                _keep_unrecorded(ledger, Path(options.output), screen)
        code = _finish(rows, report, options, screen, display)
        _say_doubts(rows, ledger.location, Path(options.output) / UNRECORDED, screen)
        return _say_fault(display, screen, code)


def _check_files(options: Options) -> None:
    """Raise ConfigurationError if the batch would write over its own input, or another's file."""
    folder = Path(options.output)
    pages = [folder / "index.html", *folder.glob("page-[0-9]*.html")]
    for file, is_ours in (
        (_results_file(options), is_results),
        *((page, is_contact_sheet) for page in pages),
    ):
        with contextlib.suppress(OSError):
            if file.samefile(options.file):
                raise ConfigurationError(
                    f"the batch would replace its own rows in {options.file}: pass another folder "
                    "as --output"
                )
        with contextlib.suppress(OSError):
            if file.exists() and not (file.is_file() and is_ours(file)):
                raise ConfigurationError(
                    f"the batch would replace {file}, which is not from a batch: pass another "
                    "folder as --output"
                )


def _results_file(options: Options) -> Path:
    name = "results.csv" if options.file.lower().endswith(".csv") else "results.jsonl"
    return Path(options.output) / name


def _say_invalid(rows: Worklist, screen: Screen) -> None:
    count = rows.states["skipped"]
    for row in rows.bad_rows:
        screen.say(f"line {row.number}: {'; '.join(row.problems)}", "invalid")
    if count > len(rows.bad_rows):
        screen.say(f"and {count - len(rows.bad_rows):,} more")


def _count(rows: Worklist, options: Options) -> int:
    """Print how many rows would be paid for."""
    unpaid = len(rows)
    if "://" in options.location or Path(options.location).exists():
        with Ledger(options.location) as ledger:
            unpaid = batch.count_unpaid(rows, ledger, retry_failed=options.retry_failed)
    counts = {"rows": len(rows), "invalid": rows.states["skipped"], "to_pay": unpaid}
    sentence = f"{unpaid:,} of {len(rows):,} rows would be paid for; nothing was sent"
    put(json.dumps({"event": "dry run", **counts}) if options.as_json else sentence)
    return DONE


def _run(
    rows: Worklist, ledger: Ledger, client: AsyncNanoBanana, options: Options, display: Display
) -> Report:
    with display:
        return batch.run(
            rows,
            ledger=ledger,
            output=options.output,
            client=client,
            concurrency=options.concurrency,
            max_cost=options.max_cost,
            max_failures=options.max_failures,
            retry_failed=options.retry_failed,
            on_event=display.show,
        )


def _keep_unrecorded(ledger: Ledger, folder: Path, screen: Screen) -> None:
    """Keep and show the tasks that the ledger could not record, however the batch ended."""
    tasks = {entry.key: task_id for entry, task_id in ledger._store.unrecorded.values()}
    if not tasks:
        return
    for key, task_id in tasks.items():
        screen.say(f"{key}: task {task_id}", "unrecorded")
    try:
        keep_unrecorded(tasks, folder)
    except OSError as error:
        screen.say(f"these tasks could not be written to a file: {error}", "error")


def _finish(
    rows: Worklist, report: Report, options: Options, screen: Screen, display: Display
) -> int:
    """Write the results, show the report, and return the exit code."""
    code = exit_code(report)
    folder = Path(options.output)
    results = _results_file(options)
    sheet = None
    try:
        batch.write_results(rows, results)
        sheet = batch.write_contact_sheet(rows, folder, title=Path(options.file).name)
    except OSError as error:
        screen.say(f"the results could not be written: {error}", "error")
        code = code or TASK_FAILED
    if options.as_json:
        counts = {**report.states, "charged": report.charged, "exit_code": code}
        display.put(json.dumps({"event": "finished", **counts}))
    else:
        screen.table("rows", {**report.states, "charged now": report.charged})
    if report.stopped:
        screen.say(report.stopped, "stopped")
    if report.states["not started"] or report.states["running"]:
        screen.say("to finish what is left, run the same command again: no row is paid for twice")
    if sheet:
        screen.say(f"contact sheet: {sheet}")
        if not options.as_json:
            display.put(os.fsencode(results))
    return code


def _say_doubts(rows: Worklist, location: str, unrecorded: Path, screen: Screen) -> None:
    """Name every row that may have been charged without a recorded task, and say what to do."""
    if not rows.states["in doubt"]:
        return
    for outcome in rows.outcomes():
        if outcome.state == "in doubt":
            task = f": task {outcome.task_id}" if outcome.task_id else ""
            screen.say(f"{outcome.key} (line {outcome.number}){task}", "in doubt")
    if unrecorded.exists() and unrecorded.stat().st_size:
        screen.say(f"tasks that the ledger could not record are in {unrecorded}")
    screen.say(
        "these may have been charged, so they are not sent again. Check your account, then settle "
        f"or release each key in the ledger {shlex.quote(location)}"
    )


def _say_fault(display: Display, screen: Screen, code: int) -> int:
    """Say why stdout could not be written, if it could not; return the exit code."""
    if not display.fault:
        return code
    screen.say(display.fault, "error")
    return code or TASK_FAILED


def exit_code(report: Report) -> int:
    """Return the exit code of a batch."""
    if report.is_complete:
        return DONE
    if report.is_interrupted:
        return INTERRUPTED
    return UNKNOWN if report.states["in doubt"] else TASK_FAILED
