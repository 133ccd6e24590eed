"""The commands and their options; `_follow` does the work.

Slow modules are imported when they are needed, to keep `--help` fast.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from mountsea_banana.rules import _check, _options, _rules

from . import _history

if TYPE_CHECKING:
    from mountsea_banana import Task
    from mountsea_banana.client._submitter import Submitter

NAME = "nano-banana"

EXIT_CODES = """\b
Exit codes:
  0    success
  1    the task failed
  2    usage error, such as an invalid request or no key; nothing was sent
  3    network, server or file error; a task with an id keeps running
  4    unknown outcome: the request may have been charged
  130  interrupted; the message says whether the request may have been charged
"""
ENVIRONMENT = """\b
Environment:
  MOUNTSEA_API_KEY   your account's key
  MOUNTSEA_BASE_URL  the base URL of the API
  MOUNTSEA_LEDGER    the ledger: a file or a postgresql:// URL
  NO_COLOR           set it to turn colours off
"""


def run(arguments: Sequence[str] | None) -> int:
    """Run a command; return its exit code."""
    try:
        code: int = commands.main(arguments, NAME, standalone_mode=False) or 0
    except click.ClickException as error:
        from ._screen import discard

        try:
            error.show()
        except OSError:  # a closed pipe, a full disk
            discard(sys.stderr)
        return error.exit_code
    except click.Abort:
        return 130
    except OSError as error:  # a closed pipe, a full disk
        from ._screen import discard

        discard(sys.stdout)
        click.echo(f"cannot write to stdout: {error}", err=True)
        return 3
    return code


@click.group(epilog=f"{EXIT_CODES}\n{ENVIRONMENT}")
def commands() -> None:
    """Generate and edit images with Mountsea's Nano Banana.

    Accepted requests are charged. Invalid requests are never sent, and a request that may have been
    accepted is never resent.
    """


def _output(text: str) -> str:
    if text in ("", "-"):
        raise click.BadParameter("pass a file or a folder")
    return text


def _seconds(text: str) -> float:
    from mountsea_banana import ConfigurationError
    from mountsea_banana.client import _settings

    try:
        return _settings.check_timeout(float(text))
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


def _values(hint: Any) -> list[str]:
    """Return the strings that a type of literals allows."""
    return (
        [hint] if isinstance(hint, str) else [v for part in get_args(hint) for v in _values(part)]
    )


_REQUEST = (
    click.option(
        "--model",
        type=click.Choice(_values(_options.Model)),
        help=f"The model to use. The default is {_rules.DEFAULT_MODEL}.",
    ),
    click.option(
        "--aspect-ratio",
        type=click.Choice(_values(_options.AspectRatio)),
        help="The ratio of width to height. "
        f"{', '.join(_rules.WIDE_RATIOS)} work only with {' and '.join(_rules.WIDE_RATIO_MODELS)}.",
    ),
    click.option(
        "--resolution",
        type=click.Choice(_values(_options.Resolution)),
        help=f"The resolution. It works only with {' and '.join(_rules.RESOLUTION_MODELS)}.",
    ),
)
_SUBMIT = (
    click.option("--no-wait", is_flag=True, help="Print the task id and exit at once."),
    click.option(
        "--once",
        metavar="KEY",
        help="Your name for the picture. It is paid for at most once: the command can be repeated.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help="Submit the request again, and pay again, if the task of the key failed.",
    ),
)
_FOLLOW = (
    click.option(
        "-o",
        "--output",
        type=_output,
        metavar="PATH",
        help="The file or folder to save the image to. In a folder, the file is named after the "
        "task. The default is the current folder.",
    ),
    click.option("--force", is_flag=True, help="Replace the file if it exists."),
    click.option(
        "--timeout",
        type=_seconds,
        default=600,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the task. It keeps running after that.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object."),
    click.option("--quiet", "-q", is_flag=True, help="Print plain lines instead of a spinner."),
    click.option("--base-url", metavar="URL", help="The base URL of the API."),
    _history.LEDGER,
    click.option("--no-ledger", is_flag=True, help="Keep no record of the submission."),
)

Command = Callable[..., Any]


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@commands.command(epilog=EXIT_CODES)
@click.argument("prompt")
@_with(*_REQUEST, *_FOLLOW, *_SUBMIT)
def generate(prompt: str, model: Any, aspect_ratio: Any, resolution: Any, **options: Any) -> int:
    """Generate an image from PROMPT and save it."""
    from ._follow import Options, submit

    def request(client: Submitter) -> Task:
        return client.generate(
            prompt, model=model, aspect_ratio=aspect_ratio, resolution=resolution
        )

    return submit(request, Options(**_checked(options)))


@commands.command(epilog=EXIT_CODES)
@click.argument("prompt")
@click.argument("urls", metavar="URL...", nargs=-1)
@_with(*_REQUEST, *_FOLLOW, *_SUBMIT)
def edit(
    prompt: str,
    urls: Sequence[str],
    model: Any,
    aspect_ratio: Any,
    resolution: Any,
    **options: Any,
) -> int:
    """Edit the images at the URLs as PROMPT describes and save the result."""
    from ._follow import Options, submit

    def request(client: Submitter) -> Task:
        return client.edit(
            prompt, urls, model=model, aspect_ratio=aspect_ratio, resolution=resolution
        )

    return submit(request, Options(**_checked(options)))


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return options that can be combined."""
    if options["no_ledger"] and options["once"] is not None:
        raise click.UsageError("--once needs the ledger: omit --no-ledger")
    if options["retry_failed"] and options["once"] is None:
        raise click.UsageError("--retry-failed needs --once KEY")
    return options


@commands.command(epilog=EXIT_CODES)
@click.argument("task", required=False)
@click.option("--last", is_flag=True, help="Take the last picture in the ledger.")
@_with(*_FOLLOW)
def result(task: str | None, last: bool, **options: Any) -> int:
    """Wait for a task and save its image, free of charge.

    TASK is a task id, or a key in the ledger.
    """
    from ._follow import Options, resume_task

    if (task is None) != last:
        raise click.UsageError("pass either a TASK or --last")
    return resume_task(task, Options(**options))


commands.add_command(_history.list_pictures)
commands.add_command(_history.ledger_commands)


@commands.command()
@click.option(
    "--check", metavar="JSON", help="The request body to check. Pass - to read it from stdin."
)
def rules(check: str | None) -> int:
    """Show the rules for requests, or check a request body without sending it."""
    from ._screen import printable

    if check is None:
        _show_rules()
        return 0
    try:
        body = json.loads(click.open_file("-", "rb").read() if check == "-" else check)
    except (ValueError, RuntimeError, OSError) as error:
        raise click.BadParameter(f"not valid JSON: {error}", param_hint="--check") from error
    violations = _check.check_request(body)
    for violation in violations:
        click.echo(printable(f"{violation.message} ({violation.rule})"))
    if not violations:
        click.echo("the request conforms to the rules")
    return 2 if violations else 0


def _show_rules() -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    if not console.is_terminal:
        for rule in _rules.RULES:
            click.echo(f"{rule.id}\t{rule.sentence}")
        return
    table = Table(Column("rule", overflow="fold"), "the vendor's words")
    for rule in _rules.RULES:
        table.add_row(rule.id, rule.sentence)
    console.print(table)


@commands.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mock(arguments: Sequence[str]) -> int:
    """Serve a mock of the API, free of charge. `mock --help` lists its options."""
    from mountsea_banana.mock.__main__ import main

    return main(list(arguments), prog=f"{NAME} mock")


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    For bash, add to ~/.bashrc:  eval "$(nano-banana completion bash)"
    For zsh, add to ~/.zshrc:    eval "$(nano-banana completion zsh)"
    For fish:  nano-banana completion fish > ~/.config/fish/completions/nano-banana.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101
    click.echo(kind(commands, {}, NAME, "_NANO_BANANA_COMPLETE").source())
