"""The commands and their options; `_follow` does the work.

Slow modules are imported when they are needed, to keep `--help` fast.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mountsea_banana._shared.extras import missing
from mountsea_banana._version import __version__
from mountsea_banana.rules import _check, _models, _rules

from . import _history

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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
BATCH_EXIT_CODES = """\b
Exit codes:
  0    every row has its image
  1    rows failed or were left out, or --max-cost or --max-failures was reached
  2    usage error, such as an invalid row or no key; nothing was sent
  3    stdout is closed, or an unexpected error
  4    unknown outcome: rows that are named may have been charged
  130  interrupted
"""
_UNITS = {"s": 1, "m": 60, "h": 3600}
ENVIRONMENT = """\b
Environment:
  MOUNTSEA_API_KEY     your account's key
  MOUNTSEA_BASE_URL    the base URL of the API
  MOUNTSEA_LEDGER      the ledger: a file or a postgresql:// URL
  MOUNTSEA_ALLOW_HTTP  1 allows a plain http:// base URL of another machine
  NO_COLOR             set it to turn colours off
"""


def run(arguments: Sequence[str] | None) -> int:
    """Run a command; return its exit code."""
    if sys.stdout is None:
        click.echo("stdout is closed: redirect it to /dev/null if you don't need it", err=True)
        return 3
    if isinstance(sys.stdout, io.TextIOWrapper):  # stderr escapes what it cannot encode anyway
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code: int = commands.main(words, NAME, standalone_mode=False) or 0
    except click.ClickException as error:
        return _report(error, words, error.exit_code)
    except click.Abort as error:
        return _report(error, words, 130)
    except OSError as error:  # a closed pipe, a full disk
        from ._screen import discard

        discard(sys.stdout)
        click.echo(f"cannot write to stdout: {error}", err=True)
        return 3
    except Exception as error:  # a bug, which must not look like a failed task
        return _report(error, words, 3)
    return code


def _report(error: Exception, words: Sequence[str], code: int) -> int:
    """Report an error that no command has reported; return the exit code."""
    from ._documents import document
    from ._screen import discard, put

    options = words[: words.index("--")] if "--" in words else words
    as_json = "--json" in options
    match error:
        case click.ClickException():
            message = error.format_message()
            cause: BaseException = click.UsageError(message)
        case click.Abort():
            message, cause = "interrupted: nothing was sent", KeyboardInterrupt()
        case _:
            message, cause = f"unexpected {type(error).__name__}: {error}", error
    if as_json and put(document(error=cause, message=message)):
        code = 3
    if as_json and not {"-q", "--quiet"}.isdisjoint(options):
        return code
    try:
        if isinstance(error, click.ClickException):
            error.show()
        else:
            click.echo(message, err=True)
    except OSError:  # a closed pipe, a full disk
        discard(sys.stderr)
    return code


@click.group(
    epilog=f"{EXIT_CODES}\n{ENVIRONMENT}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
def commands() -> None:
    """Generate and edit images with Mountsea's Nano Banana.

    Accepted requests are charged. Invalid requests are never sent, and a request that may have been
    accepted is never resent.
    """


def _output(text: str) -> str:
    from ._outputs import unknown_placeholder

    if text == "":
        raise click.BadParameter("pass a file, a folder, or - for stdout")
    if unknown := unknown_placeholder(text):
        raise click.BadParameter(f"only {{task_id}} and {{n}} are replaced, not {unknown}")
    return text


def _seconds(text: str) -> float:
    from mountsea_banana import ConfigurationError
    from mountsea_banana.client import _settings

    unit = _UNITS.get(text[-1:])
    try:
        seconds = float(text[:-1]) * unit if unit else float(text)
        return _settings.check_timeout(seconds)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


class _Choice(click.Choice[str]):
    """A choice that takes `2k` as `2K`, and shows `2K` in its messages."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        same = (each for each in self.choices if each.casefold() == value.casefold())
        return super().convert(next(same, value), param, ctx)


_REQUEST = (
    click.option(
        "-m",
        "--model",
        type=_Choice(_models.literals(_models.Model)),
        help=f"The model to use. The default is {_rules.DEFAULT_MODEL}.",
    ),
    click.option(
        "-a",
        "--aspect-ratio",
        type=_Choice(_models.literals(_models.AspectRatio)),
        help="The ratio of width to height. "
        f"{', '.join(_rules.WIDE_RATIOS)} work only with {' and '.join(_rules.WIDE_RATIO_MODELS)}.",
    ),
    click.option(
        "-r",
        "--resolution",
        type=_Choice(_models.literals(_models.Resolution)),
        help=f"The resolution. It works only with {' and '.join(_rules.RESOLUTION_MODELS)}.",
    ),
)
_SUBMIT = (
    click.option("--prompt-file", metavar="FILE", help="Read the prompt from a file."),
    click.option("--allow-empty", is_flag=True, help="Allow an empty prompt."),
    click.option("--dry-run", is_flag=True, help="Show and check the request, but send nothing."),
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
        default=".",
        metavar="PATH",
        help="The file or folder to save the image to, or - for stdout. In a folder, the file is "
        "named after the task. {task_id} and {n}, the first free number, are replaced. The default "
        "is the current folder.",
    ),
    click.option("--open", "opens", is_flag=True, help="Open the image when it is saved."),
    click.option("--force", is_flag=True, help="Replace the file if it exists."),
    click.option(
        "--timeout",
        type=_seconds,
        default="10m",
        show_default=True,
        metavar="TIME",
        help="How long to wait, such as 90, 90s, 10m or 1h. The task keeps running after that.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object, even on errors."),
    click.option("--quiet", "-q", is_flag=True, help="Print only errors."),
    click.option("--base-url", metavar="URL", help="The base URL of the API."),
    _history.LEDGER,
    click.option("--no-ledger", is_flag=True, help="Don't use the ledger."),
)
MCP_ENVIRONMENT = """\b
Environment:
  MOUNTSEA_API_KEY    your account's key
  MOUNTSEA_MCP_TOKEN  the token that --http requires; the default is a new one each time
"""

Command = Callable[..., Any]


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@commands.command(epilog=EXIT_CODES)
@click.argument("words", metavar="[PROMPT]", nargs=-1)
@_with(*_REQUEST, *_SUBMIT, *_FOLLOW)
def generate(words: Sequence[str], **options: Any) -> int:
    """Generate an image.

    PROMPT says what it shows; - reads it from stdin.
    """
    from mountsea_banana.client._requests import fields

    from ._prompts import read_prompt

    _check_combinations(options)
    prompt = read_prompt(words, options.pop("prompt_file"), allow_empty=options.pop("allow_empty"))
    body = fields("generate", prompt, **_pop_request(options))
    return _submit(body, lambda client: client.submit(body), options)


@commands.command(epilog=EXIT_CODES)
@click.argument("words", metavar="[PROMPT] URL...", nargs=-1)
@_with(*_REQUEST, *_SUBMIT, *_FOLLOW)
@click.option("--no-check-images", is_flag=True, help="Don't request the images at the URLs first.")
def edit(words: Sequence[str], no_check_images: bool, **options: Any) -> int:
    """Edit images.

    The images are at the URLs. PROMPT says what to change; - reads it from stdin.
    """
    from mountsea_banana.client._requests import fields

    from ._prompts import read_prompt, split_urls

    _check_combinations(options)
    file = options.pop("prompt_file")
    prompt_words, urls = split_urls(words, file)
    prompt = read_prompt(prompt_words, file, allow_empty=options.pop("allow_empty"))
    request = _pop_request(options)
    return _submit(
        fields("edit", prompt, image_urls=list(urls), **request),
        lambda client: client.edit(prompt, urls, check_images=not no_check_images, **request),
        options,
    )


def _pop_request(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in ("model", "aspect_ratio", "resolution")}


def _submit(
    body: dict[str, object], submit: Callable[[Submitter], Task], options: dict[str, Any]
) -> int:
    if options.pop("dry_run"):
        return _show_request(body, as_json=options["as_json"])
    from ._follow import Options, follow_submission

    return follow_submission(submit, Options(**options))


def _show_request(body: dict[str, object], *, as_json: bool) -> int:
    """Show a request body and its violations; return the exit code."""
    from mountsea_banana import InvalidRequest

    from ._documents import document
    from ._failures import explain
    from ._screen import Screen, printable

    violations = _check.check_request(body)
    error = InvalidRequest(violations) if violations else None
    sentences = explain(error) if error else []
    if as_json:
        click.echo(document(error=error, message="; ".join(sentences), request=body))
    else:
        click.echo(printable(json.dumps(body, ensure_ascii=False)))
    screen = Screen(is_silent=as_json)
    for sentence in sentences:
        screen.say(sentence, "error")
    if not error:
        screen.say("the request conforms to the rules; nothing was sent")
    return 2 if error else 0


def _check_combinations(options: dict[str, Any]) -> None:
    """Raise UsageError if options cannot be combined."""
    is_stdout = options["output"] == "-"
    if options["as_json"] and is_stdout:
        raise click.UsageError("--json and --output - cannot both print to stdout")
    if options["opens"] and (is_stdout or options.get("no_wait")):
        raise click.UsageError("--open needs a file: omit --no-wait and --output -")
    if options["no_ledger"] and options.get("once") is not None:
        raise click.UsageError("--once needs the ledger: omit --no-ledger")
    if options.get("retry_failed") and options["once"] is None:
        raise click.UsageError("--retry-failed needs --once KEY")


@commands.command(epilog=EXIT_CODES)
@click.argument("task", required=False)
@click.option("--last", is_flag=True, help="Take the last picture in the ledger.")
@_with(*_FOLLOW)
def result(task: str | None, last: bool, **options: Any) -> int:
    """Save the image of a task, free of charge.

    Waits until it is there. TASK is a task id, or a key in the ledger.
    """
    from ._follow import Options, follow_task

    if (task is None) != last:
        raise click.UsageError("pass either a TASK or --last")
    _check_combinations(options)
    return follow_task(task, Options(**options))


commands.add_command(_history.list_pictures)
commands.add_command(_history.ledger_commands)


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
    """Generate an image for every row of a file.

    Each row is paid for at most once: run the command again to finish what is left. FILE is JSON
    Lines or CSV, or - for stdin. A row has the fields of a request body, such as prompt, and
    optionally a key.
    """
    try:
        from ._batch import Options, run_batch
    except ImportError as error:
        raise click.UsageError(missing(error, "cli")) from error
    if options["file"] == "-" and not options["ledger"]:
        raise click.UsageError("pass --ledger: rows from stdin have no file to keep it beside")
    return run_batch(Options(**options))


@commands.command(epilog=MCP_ENVIRONMENT)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    help="The folder for the images and the ledger. The default is nano-banana in your folder for "
    "pictures.",
)
@click.option(
    "--budget",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    metavar="N",
    help="Refuse to submit more once N submissions were or may have been charged, in all runs with "
    "this folder together.",
)
@click.option(
    "--wait",
    type=_seconds,
    default="45s",
    show_default=True,
    metavar="TIME",
    help="How long a call waits for its image. Then it returns the task id.",
)
@click.option("--http", is_flag=True, help="Serve over HTTP on this machine instead of stdio.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="The port for --http. 0 is any free one.",
)
@click.option("--base-url", metavar="URL", help="The base URL of the API.")
@click.option("--allow-private-images", "allows_private_images", is_flag=True, hidden=True)
def mcp(output: str | None, http: bool, port: int, **options: Any) -> int:
    """Serve tools for agents with the Model Context Protocol.

    The same call again returns the same picture and is free.
    """
    from pathlib import Path

    from mountsea_banana import NanoBananaError

    try:
        import platformdirs

        from mountsea_banana.mcp._options import Options
        from mountsea_banana.mcp._run import run
    except ImportError as error:
        raise click.UsageError(missing(error, "mcp")) from error
    folder = Path(output) if output else platformdirs.user_pictures_path() / "nano-banana"
    try:
        run(Options(output=folder.absolute(), **options), port=port if http else None)
    except NanoBananaError as error:
        raise click.UsageError(error.problem) from error
    return 0


@commands.command()
@click.option(
    "--check", metavar="JSON", help="The request body to check. Pass - to read it from stdin."
)
def rules(check: str | None) -> int:
    """Show the rules, or check a request body.

    Sends nothing.
    """
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

    from ._screen import is_terminal

    console = Console()
    if not is_terminal(console):
        for rule in _rules.RULES:
            click.echo(f"{rule.id}\t{rule.sentence}")
        return
    table = Table(Column("rule", overflow="fold"), "the vendor's words")
    for rule in _rules.RULES:
        table.add_row(rule.id, rule.sentence)
    console.print(table)


class _Mock(click.Command):
    """The mock's command, whose options the mock parses."""

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from mountsea_banana.mock.__main__ import options

        found = options().items()
        return [
            CompletionItem(name, help=text) for name, text in found if name.startswith(incomplete)
        ]


@commands.command(
    cls=_Mock,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mock(arguments: Sequence[str]) -> int:
    """Serve a mock of the API.

    It is free of charge. `mock --help` lists its options.
    """
    from mountsea_banana.mock.__main__ import main

    return main(list(arguments), prog=f"{NAME} mock")


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for a shell.

    \b
    For bash, add to ~/.bashrc:  eval "$(nano-banana completion bash)"
    For zsh, add to ~/.zshrc:    eval "$(nano-banana completion zsh)"
    For fish:  nano-banana completion fish > ~/.config/fish/completions/nano-banana.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101
    click.echo(kind(commands, {}, NAME, "_NANO_BANANA_COMPLETE").source())
