"""Following one task from submission to saved file, so that nothing paid for is lost."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, evolve, frozen

from mountsea_banana import (
    DownloadError,
    NanoBanana,
    NanoBananaError,
    NotFoundError,
    Task,
    TaskFailed,
    TaskResult,
)
from mountsea_banana.client._files import Destination, reason

from ._failures import (
    BAD_USE,
    BROKEN,
    DONE,
    INTERRUPTED,
    OVERWRITE,
    exit_code,
    explain,
    resume,
)
from ._screen import Screen, printable, put

# The library logs interrupts with advice for Python; the command prints advice for a shell.
logging.getLogger("mountsea_banana").addHandler(logging.NullHandler())


@frozen
class Options:
    """The options of the commands that follow a task."""

    output: str | None
    """A file, or a folder for a file named after the task; None for the current folder."""
    force: bool
    """Whether a file may be replaced."""
    base_url: str | None
    timeout: float
    """Seconds to wait."""
    no_wait: bool
    as_json: bool
    quiet: bool


@define
class Progress:
    """What is known about the task so far."""

    may_be_charged: bool = False
    """Whether a submission was started."""
    task_id: str | None = None
    result: TaskResult | None = None
    path: Path | None = None
    fault: str | None = None
    """Why there is no image, for the JSON output."""


def follow(start: Callable[[NanoBanana], Task], options: Options, *, is_submission: bool) -> int:
    """Start or resume a task, wait for it and save its image; return the exit code.

    Checks the output before anything is submitted, so that you don't pay for an image that cannot
    be saved.
    """
    screen = Screen(is_quiet=options.quiet)
    output = options.output or "."
    obstacle = None if options.no_wait else _obstacle(output, overwrite=options.force)
    if obstacle:
        screen.say(f"--output {output}: {obstacle}", "error")
        return BAD_USE
    progress = Progress()
    with _one_interrupt(), _show_warnings(screen):
        try:
            with screen, NanoBanana(base_url=options.base_url) as client:
                progress.may_be_charged = is_submission
                task = start(client)
                progress.task_id = task.id
                screen.say(f"task {task.id}")
                if not options.no_wait:
                    progress.path = _wait_and_save(task, output, options, progress, screen)
            code, is_running = DONE, options.no_wait
            if progress.path:
                screen.say(f"done in {screen.seconds:.0f} s")
        except KeyboardInterrupt as interrupt:
            code, is_running = INTERRUPTED, True
            progress.fault = _interruption(progress, interrupt)
            screen.say(progress.fault, "interrupted")
        except NanoBananaError as error:
            code = exit_code(error)
            is_running = not isinstance(error, TaskFailed | NotFoundError)
            progress.task_id = progress.task_id or error.task_id
            sentences = explain(error)
            progress.fault = "; ".join(sentences)
            for sentence in sentences:
                screen.say(sentence, "error")
            if isinstance(error, DownloadError) and _obstacle(output, overwrite=options.force):
                options = evolve(options, output="other.png", force=False)
        if progress.task_id and is_running:
            screen.say("resume the task, free of charge:")
            screen.command(_resume(progress.task_id, options))
        fault = _put_result(progress, options) if code == DONE or options.as_json else None
        if fault:
            screen.say(fault, "error")
            code = code or BROKEN
        return code


def _wait_and_save(
    task: Task, output: str, options: Options, progress: Progress, screen: Screen
) -> Path:
    def update(result: TaskResult) -> None:
        progress.result = result
        screen.status(result.status)

    result = task.wait(timeout=options.timeout, on_update=update)
    return result.save(output, overwrite=options.force)


def _obstacle(output: str, *, overwrite: bool) -> str | None:
    """Return why the image could not be saved, if that is known in advance."""
    try:
        Destination.parse(output).check(overwrite=overwrite, any_suffix=True)
    except FileExistsError as error:
        return f"{error}; {OVERWRITE}"
    except (ValueError, OSError) as error:
        return reason(error)
    return None


def _interruption(progress: Progress, interrupt: KeyboardInterrupt) -> str:
    if progress.task_id:
        return f"task {progress.task_id} is still running"
    notes = getattr(interrupt, "__notes__", None)
    if notes:
        return str(notes[0])  # the library knows what happened to the submission
    if progress.may_be_charged:
        return (
            "no response had arrived, so the outcome is unknown: the request may have been "
            "accepted and charged. Check your account before you resend it"
        )
    return "nothing was sent"


def _resume(task_id: str, options: Options) -> list[str]:
    rest = ["-o", options.output] if options.output else []
    rest += ["--force"] if options.force else []
    rest += ["--base-url", options.base_url] if options.base_url else []
    return resume(task_id, *rest)


def _put_result(progress: Progress, options: Options) -> str | None:
    """Print a task's JSON, path or id to stdout; return the error message if that fails."""
    if options.as_json:
        return put(_document(progress)) if progress.task_id else None
    # A path is written as the bytes that name the file.
    return put(os.fsencode(progress.path) if progress.path else printable(progress.task_id or ""))


def _document(progress: Progress) -> str:
    result = progress.result
    code = result.error_code if result else None
    if isinstance(code, float) and not math.isfinite(code):
        code = str(code)  # JSON has no such number
    fields = {
        "task_id": progress.task_id,
        "status": result.status if result else None,
        "path": str(progress.path) if progress.path else None,
        "image_urls": (result.image_urls if result else None) or None,
        "error_message": (result.error_message if result else None) or progress.fault,
        "error_code": code,
        "trace_id": result.trace_id if result else None,
    }
    return json.dumps(fields)


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM interrupt, and ignore any others while it is reported."""

    def interrupt(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    caught = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.getsignal(each) for each in caught}
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
