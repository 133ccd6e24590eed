"""One task, from its submission to its file: nothing that was paid for is lost on the way."""

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
from mountsea_banana.client import _downloads as _pictures

from ._failures import (
    BAD_USE,
    BROKEN,
    DONE,
    INTERRUPTED,
    exit_code,
    explain,
    in_shell_words,
    pick_up,
)
from ._screen import Screen, printable, put

# What the library logs of an interrupt is said here in the words of a shell.
logging.getLogger("mountsea_banana").addHandler(logging.NullHandler())


@frozen
class Options:
    """What the commands about a task can be told."""

    output: str | None
    """A file, or a folder for a file that is named after the task; None: the current folder."""
    force: bool
    """Whether a file may be overwritten."""
    base_url: str | None
    timeout: float
    """How long to wait, in seconds."""
    no_wait: bool
    as_json: bool
    quiet: bool


@define
class Known:
    """What is known of the task so far."""

    may_be_charged: bool = False
    """Whether a submission was begun."""
    task_id: str | None = None
    look: TaskResult | None = None
    path: Path | None = None
    fault: str | None = None
    """Why there is no picture, in our words."""


def follow(start: Callable[[NanoBanana], Task], options: Options, *, is_submission: bool) -> int:
    """Start a task or pick one up, wait for it and save its picture; return the exit code.

    A file that stands in the way is found before anything is paid for.
    """
    screen = Screen(is_quiet=options.quiet)
    output = options.output or "."
    obstacle = None if options.no_wait else _pictures.obstacle(output, overwrite=options.force)
    if obstacle:
        screen.say(f"--output {output}: {in_shell_words(obstacle)}", "error")
        return BAD_USE
    known = Known()
    with _one_interrupt(), _warnings_said(screen):
        try:
            with screen, NanoBanana(base_url=options.base_url) as client:
                known.may_be_charged = is_submission
                task = start(client)
                known.task_id = task.id
                screen.say(f"task {task.id}")
                if not options.no_wait:
                    known.path = _wait_and_save(task, output, options, known, screen)
            code, goes_on = DONE, options.no_wait
            if known.path:
                screen.say(f"done in {screen.seconds:.0f} s")
        except KeyboardInterrupt:
            code, goes_on = INTERRUPTED, True
            known.fault = _interruption(known)
            screen.say(known.fault, "interrupted")
        except NanoBananaError as error:
            code = exit_code(error)
            goes_on = not isinstance(error, TaskFailed | NotFoundError)
            known.task_id = known.task_id or error.task_id
            sentences = explain(error)
            known.fault = "; ".join(sentences)
            for sentence in sentences:
                screen.say(sentence, "error")
            if isinstance(error, DownloadError) and _pictures.obstacle(
                output, overwrite=options.force
            ):
                options = evolve(options, output="other.png", force=False)
        if known.task_id and goes_on:
            screen.say("pick the task up, which costs nothing:")
            screen.command(_pick_up(known.task_id, options))
        fault = _put_result(known, options) if code == DONE or options.as_json else None
        if fault:
            screen.say(fault, "error")
            code = code or BROKEN
        return code


def _wait_and_save(task: Task, output: str, options: Options, known: Known, screen: Screen) -> Path:
    def update(look: TaskResult) -> None:
        known.look = look
        screen.status(look.status)

    look = task.wait(timeout=options.timeout, on_update=update)
    return look.save(output, overwrite=options.force)


def _interruption(known: Known) -> str:
    if known.task_id:
        return f"task {known.task_id} goes on"
    if known.may_be_charged:
        return (
            "no answer had come, so the outcome is unknown: the request may have been accepted "
            "and charged. Look at your account before sending it again"
        )
    return "nothing was sent"


def _pick_up(task_id: str, options: Options) -> list[str]:
    rest = ["-o", options.output] if options.output else []
    rest += ["--force"] if options.force else []
    rest += ["--base-url", options.base_url] if options.base_url else []
    return pick_up(task_id, *rest)


def _put_result(known: Known, options: Options) -> str | None:
    """Write a task's JSON, path or id to stdout; return what kept it from being written."""
    if options.as_json:
        return put(_document(known)) if known.task_id else None
    # A path is written as the bytes that name the file.
    return put(os.fsencode(known.path) if known.path else printable(known.task_id or ""))


def _document(known: Known) -> str:
    look = known.look
    code = look.error_code if look else None
    if isinstance(code, float) and not math.isfinite(code):
        code = str(code)  # JSON has no such number
    fields = {
        "task_id": known.task_id,
        "status": look.status if look else None,
        "path": str(known.path) if known.path else None,
        "image_urls": (look.image_urls if look else None) or None,
        "error_message": (look.error_message if look else None) or known.fault,
        "error_code": code,
        "trace_id": look.trace_id if look else None,
    }
    return json.dumps(fields)


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM interrupt, and no other cut short what is said after it."""

    def interrupt(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    caught = (signal.SIGINT, signal.SIGTERM)
    # A shell's background jobs ignore Ctrl-C.
    before = {each: signal.getsignal(each) for each in caught}
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
def _warnings_said(screen: Screen) -> Iterator[None]:
    def say(message: Warning | str, *_: Any, **__: Any) -> None:
        screen.say(str(message), "warning")

    with warnings.catch_warnings():
        warnings.showwarning = say
        yield
