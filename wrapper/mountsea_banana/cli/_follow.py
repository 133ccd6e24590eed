"""Following one task from submission to saved file, so that nothing paid for is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define, evolve, frozen

from mountsea_banana import (
    ConfigurationError,
    DownloadError,
    NanoBanana,
    NanoBananaError,
    NotFoundError,
    SubmissionUnknown,
    Task,
    TaskFailed,
    TaskResult,
)
from mountsea_banana._shared.signals import ENDING
from mountsea_banana.client._files import find_saved
from mountsea_banana.ledger import InDoubt, KeyConflict, LedgerError

from ._documents import Charged, document
from ._failures import BROKEN, DONE, exit_code, explain, resume
from ._ledgers import advise_to_settle, open_existing, open_ledger, option
from ._outputs import expand, obstacle
from ._screen import Screen, printable, put

if TYPE_CHECKING:
    from mountsea_banana.client._submitter import Submitter
    from mountsea_banana.ledger import Entry, Ledger

# The library logs interrupts with advice for Python; the command prints advice for a shell.
logging.getLogger("mountsea_banana").addHandler(logging.NullHandler())


@frozen
class Options:
    """The options of the commands that follow a task."""

    output: str
    """A file, with placeholders or without, a folder for a file named after the task, or `-`."""
    force: bool
    """Whether a file may be replaced."""
    base_url: str | None
    timeout: float
    """Seconds to wait."""
    as_json: bool
    quiet: bool
    ledger: str | None
    """A file or a URL; None for the user's own."""
    no_ledger: bool
    opens: bool = False
    """Whether to open the image."""
    no_wait: bool = False
    once: str | None = None
    """The key of the picture; None for a new one."""
    retry_failed: bool = False


@define
class Progress:
    """What is known about the task so far."""

    charged: Charged = "no"
    """Whether this command may have been charged for."""
    key: str | None = None
    is_in_doubt: bool = False
    """Whether the ledger does not know what became of the key."""
    task_id: str | None = None
    result: TaskResult | None = None
    path: Path | None = None
    saved: Path | None = None
    """The file that the ledger has for the task."""

    def note(self, error: BaseException) -> None:
        """Note what an error means for the task and its charge."""
        if isinstance(error, NanoBananaError):
            self.task_id = self.task_id or error.task_id
            is_known = not isinstance(error, SubmissionUnknown)
        else:
            is_known = any("nothing was charged" in n for n in getattr(error, "__notes__", []))
        if self.charged == "unknown":
            self.charged = "yes" if self.task_id else "no" if is_known else "unknown"


Start = Callable[[NanoBanana, "Ledger | None", Progress], Task]


def follow_submission(request: Callable[[Submitter], Task], options: Options) -> int:
    """Submit a request, wait for its task and save the image; return the exit code.

    Checks the output before anything is submitted, so that you don't pay for an image that cannot
    be saved.
    """

    def start(client: NanoBanana, ledger: Ledger | None, progress: Progress) -> Task:
        if ledger is None:
            _check_output(options, progress, None)
            progress.charged = "unknown"
            task = request(client)
            progress.charged = "yes"
            return task
        progress.key = secrets.token_hex(6) if options.once is None else options.once
        known = ledger.find(progress.key)
        _check_output(options, progress, known)
        progress.charged = "unknown"
        try:
            task = request(ledger.once(progress.key, client, retry_failed=options.retry_failed))
        except BaseException as error:
            _look_up(ledger, known, progress, error)
            raise
        progress.charged = "no" if known and known.task_id == task.id else "yes"
        return task

    return _follow(start, options, opens=open_ledger)


def _look_up(ledger: Ledger, known: Entry | None, progress: Progress, error: BaseException) -> None:
    """Find out what became of a submission that ended with an error."""
    assert progress.key  # noqa: S101
    unrecorded = ledger._store.unrecorded_task(progress.key)
    if unrecorded:
        progress.task_id, progress.is_in_doubt, progress.charged = unrecorded, True, "yes"
        return
    with contextlib.suppress(LedgerError):
        entry = ledger.find(progress.key)
        is_new = entry is not None and (known is None or entry.claim != known.claim)
        if entry and (is_new or isinstance(error, InDoubt)) and not isinstance(error, KeyConflict):
            progress.task_id = entry.task_id
            progress.is_in_doubt = entry.task_id is None
            progress.charged = "yes" if entry.task_id else "unknown"
        else:
            progress.charged = "no"
            progress.key = entry.key if entry else None


def follow_task(name: str | None, options: Options) -> int:
    """Wait for a task and save its image, free of charge; return the exit code.

    `name` is a task id, or a key in the ledger; None is the last one in the ledger.
    """

    def start(client: NanoBanana, ledger: Ledger | None, progress: Progress) -> Task:
        entry = _entry(ledger, name) if ledger else None
        _check_output(options, progress, entry)
        if entry is None or ledger is None:
            if name is None:
                raise ConfigurationError("the ledger has no picture yet")
            return client.task(name)
        progress.key, progress.task_id = entry.key, entry.task_id
        base_url = client._driver.settings.base_url
        if entry.order.base_url != base_url:
            raise ConfigurationError(
                f"the task was created at {entry.order.base_url}, not at {base_url}; pass "
                f"--base-url {entry.order.base_url}"
            )
        if entry.state == "in doubt":
            progress.is_in_doubt, progress.charged = True, "unknown"
        elif entry.task_id is None:
            why = "it was released" if entry.state == "released" else "it is still being submitted"
            raise ConfigurationError(f"the key {entry.key!r} has no task: {why}")
        return ledger.task(entry, client)

    return _follow(start, options, opens=open_existing)


def _entry(ledger: Ledger, name: str | None) -> Entry | None:
    """Return the submission with a key or a task id, or the last one that was not released."""
    if name is None:
        newest = ledger.entries(newest_first=True)
        return next((each for each in newest if each.state != "released"), None)
    with contextlib.suppress(ConfigurationError):  # it cannot be a key
        if entry := ledger.find(name):
            return entry
    return ledger.find_task(name)


def _follow(start: Start, options: Options, *, opens: Callable[[str | None], Ledger | None]) -> int:
    screen = Screen(is_quiet=options.quiet, is_silent=options.quiet and options.as_json)
    progress = Progress()
    error: BaseException | None = None
    sentences: list[str] = []
    with _one_interrupt(), _show_warnings(screen):
        try:
            with (
                screen,
                NanoBanana(base_url=options.base_url) as client,
                _opened(options, opens) as ledger,
            ):
                task = start(client, ledger, progress)
                progress.task_id = task.id
                screen.say(f"task {task.id}")
                if options.once and progress.charged == "no":
                    screen.say("the ledger has this task for the key: nothing is charged")
                if not options.no_wait:
                    progress.path = _wait_and_save(task, options, progress, screen)
            if progress.result:
                screen.say(f"done in {screen.seconds:.0f} s")
            if progress.path and options.opens:
                click.launch(str(progress.path))
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
            progress.note(error)
            sentences = _explain(error, progress)
        for sentence in sentences:
            screen.say(sentence, "interrupted" if isinstance(error, KeyboardInterrupt) else "error")
        if error or not options.quiet:
            _advise(screen, progress, options, error)
        code = exit_code(error, progress.charged) if error else DONE
        fault = _put_result(progress, options, error, "; ".join(sentences))
        if fault:
            screen.say(fault, "error")
            code = code or BROKEN
        return code


@contextlib.contextmanager
def _opened(
    options: Options, opens: Callable[[str | None], Ledger | None]
) -> Iterator[Ledger | None]:
    ledger = None if options.no_ledger else opens(options.ledger)
    with ledger or contextlib.nullcontext():
        yield ledger


def _explain(error: BaseException, progress: Progress) -> list[str]:
    if isinstance(error, KeyboardInterrupt):
        return [_interruption(progress, error)]
    sentences = explain(error)
    if isinstance(error, LedgerError) and not error.task_id:
        sentences[-1] += "; pass --no-ledger to do without it"
    return sentences


def _advise(
    screen: Screen, progress: Progress, options: Options, error: BaseException | None
) -> None:
    """Print the commands to go on with."""
    is_ended = isinstance(error, TaskFailed | NotFoundError)
    if progress.task_id and not is_ended and (error or options.no_wait):
        if isinstance(error, DownloadError) and options.output != "-":
            path = expand(options.output, progress.task_id, progress.saved)
            if obstacle(path, overwrite=options.force):
                options = evolve(options, output="other.png", force=False)
        screen.advise("resume the task, free of charge:")
        screen.command(resume(progress.task_id, *_resume_options(options)))
    if progress.key and progress.is_in_doubt:
        advise_to_settle(screen, progress.key, options.ledger, progress.task_id)
    if isinstance(error, TaskFailed) and options.once:
        screen.advise("to make a new attempt, which is charged, pass --retry-failed")


def _resume_options(options: Options) -> list[str]:
    words = ["-o", options.output] if options.output != "." else []
    words += ["--force"] if options.force else []
    words += ["--base-url", options.base_url] if options.base_url else []
    words += ["--no-ledger"] if options.no_ledger else option(options.ledger)
    return words


def _wait_and_save(task: Task, options: Options, progress: Progress, screen: Screen) -> Path | None:
    def update(result: TaskResult) -> None:
        progress.result = result
        screen.status(result.status)

    result = task.wait(timeout=options.timeout, on_update=update)
    if options.output == "-":
        if fault := put(result.read(), is_line=False):
            raise DownloadError(fault, url=None, task_id=task.id)
        return None
    path = expand(options.output, task.id, progress.saved)
    return result.save(path, overwrite=options.force)


def _check_output(options: Options, progress: Progress, entry: Entry | None) -> None:
    """Raise ConfigurationError if the image cannot be saved, unless it already is."""
    if options.no_wait:
        return
    if options.output == "-":
        if sys.stdout.isatty():
            raise ConfigurationError("--output -: stdout is a terminal; redirect it to a file")
        return
    task_id = (entry and entry.task_id) or "task"
    progress.saved = entry.file if entry else None
    path = expand(options.output, task_id, progress.saved)
    if progress.saved and find_saved(progress.saved, path, task_id):
        return
    if fault := obstacle(path, overwrite=options.force):
        raise ConfigurationError(f"--output {options.output}: {fault}")


def _interruption(progress: Progress, interrupt: KeyboardInterrupt) -> str:
    if progress.task_id:
        return f"task {progress.task_id} is still running"
    notes = getattr(interrupt, "__notes__", None)
    if notes:
        return str(notes[0])  # the library knows what happened to the submission
    if progress.charged != "no":
        return (
            "no response had arrived, so the outcome is unknown: the request may have been "
            "accepted and charged. Check your account before you resend it"
        )
    return "nothing was sent"


def _put_result(
    progress: Progress, options: Options, error: BaseException | None, message: str
) -> str | None:
    """Print a task's JSON, path or id to stdout; return the error message if that fails."""
    if options.as_json:
        return put(
            document(
                task_id=progress.task_id,
                key=progress.key,
                result=progress.result,
                path=progress.path,
                charged=progress.charged,
                error=error,
                message=message,
            )
        )
    if error or (options.output == "-" and not options.no_wait):
        return None
    # A path is written as the bytes that name the file.
    return put(os.fsencode(progress.path) if progress.path else printable(progress.task_id or ""))


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let the first signal that asks the program to end interrupt it, and ignore any others."""

    def interrupt(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in ENDING}
    # Background jobs of a shell ignore Ctrl-C, and keep ignoring it.
    before = {each: old for each, old in before.items() if old != signal.SIG_IGN}
    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, old in before.items():
            if signal.getsignal(each) is interrupt:
                signal.signal(each, old)


@contextlib.contextmanager
def _show_warnings(screen: Screen) -> Iterator[None]:
    def say(message: Warning | str, *_: Any, **__: Any) -> None:
        screen.say(str(message), "warning")

    with warnings.catch_warnings():
        warnings.showwarning = say
        yield
