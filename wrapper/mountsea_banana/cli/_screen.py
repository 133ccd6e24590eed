"""The output: messages and a spinner on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import click
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress


class _Stderr(Console):
    def on_broken_pipe(self) -> None:
        # rich would exit, but the task is still running.
        discard(sys.stderr)


class Screen:
    """Prints messages to stderr; in its `with` block, a terminal shows a spinner.

    A quiet screen prints only what went wrong and what to do, a silent one nothing.
    """

    def __init__(self, *, is_quiet: bool = False, is_silent: bool = False) -> None:
        self._is_quiet = is_quiet
        self._console = _Stderr(stderr=True, highlight=False, quiet=is_silent)
        self._is_terminal = is_terminal(self._console)
        self._has_spinner = (
            self._is_terminal and not self._console.is_dumb_terminal and not is_quiet
        )
        self._progress: Progress | None = None
        self._status = ""
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """The seconds since the start."""
        return time.monotonic() - self._start

    def say(self, text: str, kind: str = "") -> None:
        """Print a line; `kind` is empty, `interrupted`, `warning` or `error`.

        A quiet screen leaves out the lines of no kind.
        """
        if kind or not self._is_quiet:
            style = "bold red" if kind == "error" else "yellow"
            self._print(Text.assemble((f"{kind}: " if kind else "", style), printable(text)))

    def advise(self, text: str) -> None:
        """Print a line about what to do, also on a quiet screen."""
        self._print(Text(printable(text)))

    def _print(self, line: Text) -> None:
        self._write(line, is_whole=not self._is_terminal)

    def command(self, words: Sequence[str]) -> None:
        """Print a command on one line, so that it can be copied."""
        self._write(Text(f"  {printable(shlex.join(words))}", "bold"), is_whole=True)

    def status(self, text: str) -> None:
        """Show the task's status: in the spinner, or as a line if it has changed."""
        if self._progress:
            with contextlib.suppress(OSError):
                self._progress.update(
                    self._progress.task_ids[0], description=printable(text), refresh=True
                )
        elif text != self._status:
            self.say(text)
        self._status = text

    def bar(self, total: int) -> Progress | None:
        """Return a progress bar for rows, with a field `counts`; None without a terminal."""
        if not self._has_spinner:
            return None
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )

        class RateColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed or 0:.1f} rows/s")

        bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TextColumn("{task.fields[counts]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        bar.add_task("", total=total, counts="")
        return bar

    def table(self, title: str, counts: Mapping[str, int]) -> None:
        """Print counts: as a table on a terminal, and otherwise as a line."""
        if not self._has_spinner:
            self.say(", ".join(f"{count:,} {name}" for name, count in counts.items()))
            return
        from rich.table import Column, Table

        table = Table(title, Column("", justify="right"), show_header=False)
        for name, count in counts.items():
            table.add_row(name, f"{count:,}")
        with contextlib.suppress(OSError):
            self._console.print(table)

    def __enter__(self) -> Self:
        if self._has_spinner:
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            spinner = "dots" if self._console.encoding.startswith("utf") else "line"
            self._progress = Progress(
                SpinnerColumn(spinner),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.add_task("waiting")
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress:
            stop(self._progress)
            self._progress = None

    def _write(self, line: Text, *, is_whole: bool) -> None:
        try:
            self._console.print(line, soft_wrap=is_whole)
        except OSError:
            discard(sys.stderr)


def is_terminal(console: Console) -> bool:
    """Return whether a console prints to a terminal; FORCE_COLOR asks for colours in a pipe."""
    return console.is_terminal and console.file.isatty()


def stop(progress: Progress) -> None:
    """Remove a spinner or a bar, unless the terminal is gone."""
    try:
        progress.stop()
    except OSError:
        discard(sys.stderr)


def put(content: str | bytes, *, is_line: bool = True) -> str | None:
    """Write a line, or the bytes of a file, to stdout; return the error message if that fails."""
    try:
        click.echo(content, nl=is_line)
    except OSError as error:
        discard(sys.stdout)
        return f"cannot write to stdout: {error}"
    return None


def printable(text: str) -> str:
    """Return text with the characters escaped that could control a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def discard(stream: TextIO) -> None:
    """Discard everything that is written to a stream from now on."""
    # Its buffer would fail again when Python exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
