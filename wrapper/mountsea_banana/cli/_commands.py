"""The commands and their options; `_follow` does the work.

Slow modules are imported when they are needed, to keep `--help` fast.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from mountsea_banana._shared.extras import missing
from mountsea_banana.rules import _check, _options, _rules

if TYPE_CHECKING:
    from mountsea_banana import NanoBanana, Task

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
BATCH_EXIT_CODES = """\b
Exit codes:
  0    every row has its image
  1    rows failed or were left out, or --max-cost or --max-failures was reached
  2    usage error, such as an invalid row or no key; nothing was sent
  4    unknown outcome: rows that are named may have been charged
  130  interrupted
"""
ENVIRONMENT = """\b
Environment:
  MOUNTSEA_API_KEY   your account's key
  MOUNTSEA_BASE_URL  the base URL of the API
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
_NO_WAIT = click.option("--no-wait", is_flag=True, help="Print the task id and exit at once.")
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
@_with(*_REQUEST, *_FOLLOW, _NO_WAIT)
def generate(prompt: str, model: Any, aspect_ratio: Any, resolution: Any, **options: Any) -> int:
    """Generate an image from PROMPT and save it."""
    from ._follow import Options, follow

    def start(client: NanoBanana) -> Task:
        return client.generate(
            prompt, model=model, aspect_ratio=aspect_ratio, resolution=resolution
        )

    return follow(start, Options(**options), is_submission=True)


@commands.command(epilog=EXIT_CODES)
@click.argument("prompt")
@click.argument("urls", metavar="URL...", nargs=-1)
@_with(*_REQUEST, *_FOLLOW, _NO_WAIT)
def edit(
    prompt: str,
    urls: Sequence[str],
    model: Any,
    aspect_ratio: Any,
    resolution: Any,
    **options: Any,
) -> int:
    """Edit the images at the URLs as PROMPT describes and save the result."""
    from ._follow import Options, follow

    def start(client: NanoBanana) -> Task:
        return client.edit(
            prompt, urls, model=model, aspect_ratio=aspect_ratio, resolution=resolution
        )

    return follow(start, Options(**options), is_submission=True)


@commands.command(epilog=EXIT_CODES)
@click.argument("task_id")
@_with(*_FOLLOW)
def result(task_id: str, **options: Any) -> int:
    """Wait for the task TASK_ID and save its image, free of charge."""
    from ._follow import Options, follow

    follow_options = Options(**options, no_wait=False)
    return follow(lambda client: client.task(task_id), follow_options, is_submission=False)


@commands.command(epilog=BATCH_EXIT_CODES)
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=_output,
    default="pictures",
    show_default=True,
    metavar="FOLDER",
    help="The folder for the images, the results and the contact sheet.",
)
@click.option(
    "--ledger",
    metavar="FILE-OR-URL",
    help="The ledger of what was paid. The default is FILE.ledger.db.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100),
    default=20,
    show_default=True,
    help="How many rows may be in flight. Fewer are while the server refuses more.",
)
@click.option(
    "--max-cost",
    type=click.IntRange(0),
    metavar="N",
    help="Start no more rows once the ledger has N submissions that may have been charged.",
)
@click.option(
    "--max-failures",
    type=click.IntRange(1),
    metavar="N",
    help="Start no more rows after N have failed in this run.",
)
@click.option("--retry-failed", is_flag=True, help="Pay again for rows whose task has failed.")
@click.option("--skip-invalid", is_flag=True, help="Leave out rows that are invalid.")
@click.option("--dry-run", is_flag=True, help="Send nothing. Count the rows to pay for.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event.")
@click.option("--base-url", metavar="URL", help="The base URL of the API.")
def batch(**options: Any) -> int:
    """Generate or edit an image for every row of FILE, and pay at most once for each.

    FILE is JSON Lines or CSV, or - for stdin. A row has the fields of a request body, such as
    prompt, and optionally a key. Run the command again to finish what is left.
    """
    try:
        from ._batch import Options, run_batch
    except ImportError as error:
        raise click.UsageError(missing(error, "cli")) from error
    if options["file"] == "-" and not options["ledger"]:
        raise click.UsageError("pass --ledger: rows from stdin have no file to keep it beside")
    return run_batch(Options(**options))


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
