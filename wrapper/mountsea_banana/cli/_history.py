"""The commands about earlier submissions: `list` and `ledger`."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.text import Text

    from mountsea_banana.ledger import Entry, Ledger

NEWEST = 10
"""How many pictures `list` shows."""

LEDGER = click.option(
    "--ledger",
    metavar="LEDGER",
    # `nano-banana ledger --ledger FILE settle …` means the same as the option at the end.
    callback=lambda context, _, value: value or context.obj,
    help="The ledger to use: an SQLite file, or a postgresql:// URL.",
)
_STYLES = {"completed": "green", "failed": "red", "cancelled": "red", "timeout": "red"}


def _reports(command: Callable[..., int]) -> Callable[..., int]:
    """Let a command report the library's errors and return their exit codes."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> int:
        from mountsea_banana import NanoBananaError

        from ._failures import exit_code, explain
        from ._screen import Screen

        try:
            return command(*arguments, **options)
        except NanoBananaError as error:
            for sentence in explain(error):
                Screen().say(sentence, "error")
            return exit_code(error)

    return run


@click.command("list")
@click.option("--all", "shows_all", is_flag=True, help=f"Show all, not only the last {NEWEST}.")
@LEDGER
@_reports
def list_pictures(shows_all: bool, ledger: str | None) -> int:
    """List your last pictures.

    They come from the ledger, which keeps everything that you submit. `result KEY` saves a picture
    again, free of charge.
    """
    from ._screen import Screen

    with _existing(ledger) as kept:
        newest = kept.entries(newest_first=True) if kept else iter(())
        entries = list(newest if shows_all else itertools.islice(newest, NEWEST))
    if not entries:
        Screen().say("nothing has been submitted yet")
    _show(entries[::-1], lambda entry: [_file(entry)])
    return 0


@click.group("ledger", invoke_without_command=True)
@LEDGER
@click.pass_context
def ledger_commands(context: click.Context, ledger: str | None) -> int | None:
    """Show and settle what may have been charged.

    The ledger keeps everything that you submit. A submission is in doubt if it may have been
    charged, but its task is not known.
    """
    context.obj = ledger
    return _show_doubts(ledger) if context.invoked_subcommand is None else None


@_reports
def _show_doubts(ledger: str | None) -> int:
    from ._ledgers import advise_to_settle, explain_doubt
    from ._screen import Screen

    screen = Screen()
    with _existing(ledger) as kept:
        if kept is None:
            screen.say("there is no ledger yet: nothing is in doubt")
            return 0
        doubts, claims = (list(kept.entries(state)) for state in ("in doubt", "claimed"))
        charged = kept.charges() - len(doubts) - len(claims)
        submitting = f", {len(claims)} being submitted" if claims else ""
        screen.say(f"{kept.location}: {charged} charged, {len(doubts)} in doubt{submitting}")
    _show([*doubts, *claims], explain_doubt)
    if doubts:
        advise_to_settle(screen, doubts[0].key if len(doubts) == 1 else "KEY", ledger)
    return 0


@ledger_commands.command()
@click.argument("key")
@click.argument("task_id")
@LEDGER
@_reports
def settle(key: str, task_id: str, ledger: str | None) -> int:
    """Settle a key: its task is known.

    Do this if your account shows the task of a KEY that is in doubt.
    """
    from ._failures import resume
    from ._ledgers import option
    from ._screen import Screen

    with _needed(ledger) as kept:
        kept.settle(key, task_id=task_id)
    screen = Screen()
    screen.say(f"{key} is settled. Save its picture, free of charge:")
    screen.command(resume(task_id, *option(ledger)))
    return 0


@ledger_commands.command()
@click.argument("key")
@LEDGER
@_reports
def release(key: str, ledger: str | None) -> int:
    """Free a key: nothing was charged.

    Do this if your account shows no task for a KEY that is in doubt. The next command with --once
    and the key pays.
    """
    from ._screen import Screen

    with _needed(ledger) as kept:
        kept.release(key)
    Screen().say(f"{key} is released")
    return 0


@ledger_commands.command()
@LEDGER
@_reports
def export(ledger: str | None) -> int:
    """Print all as JSON Lines."""
    with _existing(ledger) as kept:
        for entry in kept.entries() if kept else ():
            click.echo(json.dumps(entry.to_dict()))
    return 0


@ledger_commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@LEDGER
@_reports
def backup(file: Path, ledger: str | None) -> int:
    """Copy the ledger into a file."""
    with _needed(ledger) as kept:
        kept.back_up(file)
    return 0


@contextmanager
def _existing(location: str | None) -> Iterator[Ledger | None]:
    from ._ledgers import open_existing

    ledger = open_existing(location)
    if ledger is None:
        yield None
    else:
        with ledger:
            yield ledger


@contextmanager
def _needed(location: str | None) -> Iterator[Ledger]:
    from mountsea_banana.ledger import LedgerError

    with _existing(location) as ledger:
        if ledger is None:
            raise LedgerError("there is no ledger yet")
        yield ledger


def _show(entries: Sequence[Entry], explain: Callable[[Entry], Sequence[str]]) -> None:
    """Print submissions: a paragraph each on a terminal, or a line with tabs between columns.

    `explain` returns more lines for the paragraph.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from ._screen import is_terminal, printable

    console = Console(highlight=False)
    on_terminal = is_terminal(console)
    for entry in entries:
        prompt = printable(str(entry.request.get("prompt", "")))
        if on_terminal:
            console.print(_heading(entry))
            when = f"{entry.claimed_at.astimezone():%Y-%m-%d %H:%M}"
            line = Text(f"{when}  {prompt}", no_wrap=True, overflow="ellipsis")
            details = [Text(printable(each), overflow="fold") for each in explain(entry) if each]
            for each in [line, *details]:
                console.print(Padding(each, (0, 0, 0, 2), expand=False))
        else:
            when = entry.claimed_at.isoformat(timespec="seconds")
            row = [when, entry.key, _state(entry), entry.task_id or "", _file(entry)]
            click.echo("\t".join([*map(printable, row), prompt]))


def _heading(entry: Entry) -> Text:
    from rich.text import Text

    from ._screen import printable

    state = _state(entry)
    return Text.assemble(
        (printable(entry.key), "bold"), "  ", (state, _STYLES.get(state, "yellow"))
    )


def _state(entry: Entry) -> str:
    """Return a word for what became of a submission."""
    if entry.state == "accepted":
        return entry.status or "submitted"
    return "being submitted" if entry.state == "claimed" else entry.state


def _file(entry: Entry) -> str:
    """Return the file that the picture is in, or an empty string."""
    file = entry.file
    if file is None or not file.is_file():
        return ""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)
