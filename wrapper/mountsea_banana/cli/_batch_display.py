"""What is shown while a batch runs: a bar on a terminal, lines on a pipe, or JSON."""

from __future__ import annotations

import contextlib
import json
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mountsea_banana import batch

from ._screen import Screen, put, stop

if TYPE_CHECKING:
    from rich.progress import Progress

MAX_MESSAGES = 20
"""How many failures are shown; the results file has them all."""
LINE_SECONDS = 10.0
"""How often a pipe gets a line."""


class Display:
    """Shows the events of a batch, while its `with` block lasts."""

    def __init__(self, total: int, screen: Screen, *, as_json: bool) -> None:
        self._total = total
        self._screen = screen
        self._as_json = as_json
        self._bar: Progress | None = None
        self._ended = 0
        self._charged = 0
        self._failed = 0
        self._messages = 0
        self.fault: str | None = None
        """Why stdout could not be written."""
        self._last_line = 0.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._bar = None if self._as_json else self._screen.bar(self._total)
        if self._bar:
            self._bar.start()
            self._stack.callback(stop, self._bar)
        self._stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = lambda message, *_, **__: self._message(str(message), "warning")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def show(self, event: batch.Event) -> None:
        """Show what happened."""
        match event:
            case batch.Submitted():
                self._charged += 1
            case batch.Outcome():
                self._end_row(event)
            case batch.Paused():
                if not self._as_json:
                    self._message(f"for {event.seconds:.0f} s: {event.reason}", "paused")
            case batch.Waiting():
                if not self._as_json:
                    self._screen.say(_waiting(event), "waiting")
            case _:
                self._screen.say(_draining(event.submissions), "interrupted")
        if self._as_json:
            self.put(json.dumps(event.to_dict()))
        else:
            self._progress()

    def put(self, content: str | bytes) -> None:
        """Write a line to stdout; keep the error message if that fails."""
        self.fault = put(content) or self.fault

    def _end_row(self, outcome: batch.Outcome) -> None:
        self._ended += 1
        self._failed += outcome.state in ("failed", "in doubt")
        if not outcome.error or self._as_json:
            return
        text = f"{outcome.key} (line {outcome.number}): {outcome.error}"
        if outcome.state == "in doubt" and outcome.task_id:
            self._screen.say(text, outcome.state)  # perhaps the only record of a paid task
        else:
            self._message(text, outcome.state)

    def _progress(self) -> None:
        counts = f"{self._charged:,} charged, {self._failed:,} failed"
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._ended, counts=counts)
            return
        seconds = self._screen.seconds
        if seconds - self._last_line >= LINE_SECONDS:
            self._last_line = seconds
            rate = self._ended / seconds
            left = f", {(self._total - self._ended) / rate:,.0f} s left" if rate else ""
            self._screen.say(
                f"{self._ended:,} of {self._total:,} rows, {counts}, {rate:.1f} rows/s{left}"
            )

    def _message(self, text: str, kind: str) -> None:
        self._messages += 1
        if self._messages <= MAX_MESSAGES:
            self._screen.say(text, kind)
        elif self._messages == MAX_MESSAGES + 1:
            self._screen.say("no further problems are shown; the results file has them all")


def _waiting(event: batch.Waiting) -> str:
    return (
        f"{event.rows:,} rows are being submitted by another process. If it was killed, they are "
        f"in doubt in at most {event.seconds:,.0f} s"
    )


def _draining(submissions: int) -> str:
    if not submissions:
        return "no more rows are started"
    return (
        f"no more rows are started; waiting for the responses to {submissions} submissions. Press "
        "Ctrl-C again to stop at once, which may leave them in doubt"
    )
