"""Test whether a server conforms to the contract of the image API.

The exit code is 0 if it does, 1 if it does not, and 2 if the test is inconclusive or cannot run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from mountsea_banana._shared.extras import missing
from mountsea_banana._shared.hosts import allows_http, is_loopback

if TYPE_CHECKING:
    from ._causes import Cause
    from ._outcome import Outcome

SEED = 1
TASK_TIMEOUT = 20.0
REMOTE_TASK_TIMEOUT = 600.0
MOCK_KEYS = ("test-token", "other-token")
# Long enough to see open statuses in the first polls, and the final one in the last of them.
MOCK_SECONDS = "0.5"
UNLIMITED = "unlimited"
SECONDS_BETWEEN_LINES = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _main(options)
    except ImportError as error:
        return _fail(missing(error, "contract"))
    except KeyboardInterrupt:
        return _fail("interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mountsea_banana.harness",
        description=__doc__,
        epilog="Set MOUNTSEA_API_KEY to your API key. To test that accounts cannot see each "
        "other's tasks, set MOUNTSEA_OTHER_API_KEY to the key of a second account.",
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="server to test (default: start a mock server)"
    )
    parser.add_argument(
        "--budget",
        metavar="N",
        help="maximum number of accepted submissions, which a live server charges, or "
        "`unlimited` (default: 0, or unlimited for this project's mock)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        metavar="N",
        help="seed of the generated request bodies; the same seed sends the same requests "
        "(default: %(default)s)",
    )
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="generate many more request bodies, which takes minutes",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="file with the ids of known violations to ignore, one per line; lines that start "
        "with # are comments",
    )
    parser.add_argument(
        "--write-baseline",
        type=Path,
        metavar="FILE",
        help="write the ids of all violations to a file for --baseline",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("contract-report"),
        metavar="FOLDER",
        help="folder for the reports: index.html, junit.xml and failures.har, and request bodies "
        "that are too long for a command line (default: %(default)s)",
    )
    parser.add_argument(
        "--spec",
        type=Path,
        metavar="FILE",
        help="OpenAPI document to test against (default: the bundled spec)",
    )
    parser.add_argument(
        "--overlay",
        type=Path,
        metavar="FILE",
        help="OpenAPI Overlay document with the rules of the spec (default: the bundled overlay)",
    )
    return parser


def _main(options: argparse.Namespace) -> int:
    from mountsea_banana.contract import Contract, ContractError

    from . import _plan, _report
    from ._run import CannotTest, Run
    from ._transport import Server

    is_terminal = sys.stderr.isatty()
    last_line = time.monotonic()

    def progress(check: str, sent: int) -> None:
        nonlocal last_line
        line = f"contract: {sent:,} of about {total:,} requests ({check})"
        if is_terminal and sent % 25 == 0:
            columns = shutil.get_terminal_size().columns
            print(f"\r{line[: columns - 1]:<{columns - 1}}", end="", file=sys.stderr, flush=True)
        elif not is_terminal and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    try:
        known_ids = _read_baseline(options.baseline)
        wanted = _wanted_budget(options.budget)
        contract = Contract.load(options.spec, options.overlay)
        with _server(options) as (base_url, keys):
            _print_status(f"testing {base_url} with seed {options.seed}")
            budget = _budget(wanted, base_url, is_ours=options.base_url is None)
            plan = _plan.make_plan(contract, options.seed, thorough=options.thorough)
            _print_status(_cost(plan.cost, budget))
            total = plan.size + plan.cost  # each accepted submission is polled
            is_local = is_loopback(urlsplit(base_url).hostname or "")
            run = Run(
                plan,
                Server(base_url, keys),
                budget=budget,
                has_other_key="{other}" in keys,
                task_timeout=TASK_TIMEOUT if is_local else REMOTE_TASK_TIMEOUT,
                fail_fast=options.fail_fast,
                progress=progress,
            )
            outcome = run.execute()
            if is_terminal:
                print("\r\x1b[K", end="", file=sys.stderr)
    except (CannotTest, ContractError, OSError, ValueError) as error:
        return _fail(str(error))
    new = [cause for cause in outcome.causes if cause.id not in known_ids]
    known = [cause for cause in outcome.causes if cause.id in known_ids]
    for line in _report.terminal_lines(outcome, new, known, options.report):
        print(line)
    for fixed_id in sorted(known_ids - {cause.id for cause in outcome.causes}):
        print(f"fixed; remove it from {options.baseline}: {fixed_id}")
    try:
        _write_reports(outcome, new, known, options)
    except OSError as error:
        return _fail(f"cannot write the report: {error}")
    status, sentence = _report.verdict(outcome, new)
    _print_status(f"{sentence}; see {options.report / 'index.html'}")
    return status


def _write_reports(
    outcome: Outcome, new: Sequence[Cause], known: Sequence[Cause], options: argparse.Namespace
) -> None:
    from . import _github, _report

    _report.write_junit(outcome, new, known, options.report / "junit.xml")
    _report.write_page(outcome, new, known, options.report / "index.html")
    _report.write_bodies(outcome.causes, options.report)
    _report.write_har(outcome.causes, outcome.base_url, options.report / "failures.har")
    if options.write_baseline:
        text = "".join(f"{cause.id}\n" for cause in outcome.causes)
        options.write_baseline.write_text(text, "utf-8")
    if os.environ.get("GITHUB_ACTIONS"):
        for line in _github.workflow_commands(outcome, new):
            print(line)
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as page:
            page.write(_github.markdown(outcome, new, known))


def _wanted_budget(text: str | None) -> int | str | None:
    """Return the budget on the command line: a number, `unlimited`, or None if there is none."""
    if text is None or text == UNLIMITED:
        return text
    if not text.isdecimal():
        raise ValueError(f"--budget must be 0 or more, or {UNLIMITED}, not {text}")
    return int(text)


def _budget(wanted: int | str | None, base_url: str, *, is_ours: bool) -> int | None:
    """Return the number of submissions that the server may accept; None if they are free."""
    if isinstance(wanted, int):
        return wanted
    return None if wanted == UNLIMITED or is_ours or _is_mock(base_url) else 0


def _is_mock(base_url: str) -> bool:
    """Return whether a server says that it is this project's mock, which charges nothing."""
    try:
        state = httpx.get(f"{base_url}/_mock", timeout=5, trust_env=False).json()
        return bool(state["mock"].startswith("mountsea-banana "))
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _cost(submissions: int, budget: int | None) -> str:
    """Say what a run may cost at most."""
    if budget == 0:
        return (
            "no submission may be accepted, so tasks and images are not tested; "
            f"allow some with --budget N, or all with --budget {UNLIMITED}"
        )
    limit = submissions if budget is None else min(budget, submissions)
    return f"at most {limit:,} valid submissions, each of which a live server charges"


@contextlib.contextmanager
def _server(options: argparse.Namespace) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the URL of the server under test and the values of the key placeholders."""
    if options.base_url is None:
        with _mock(options.spec, options.overlay) as base_url:
            yield base_url, _keys(*MOCK_KEYS)
        return
    parts = urlsplit(options.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(
            f"--base-url must be an http:// or https:// URL without a query, not "
            f"{options.base_url!r}"
        )
    is_local = is_loopback(parts.hostname)
    if parts.scheme == "http" and not is_local and not allows_http():
        raise ValueError(
            f"{options.base_url} would send the API key unencrypted: use https://, or set "
            "MOUNTSEA_ALLOW_HTTP=1 if everyone on the way may read it"
        )
    key = os.environ.get("MOUNTSEA_API_KEY", "").strip()
    other = os.environ.get("MOUNTSEA_OTHER_API_KEY", "").strip()
    if not key:
        raise ValueError(f"{options.base_url} needs an API key: set MOUNTSEA_API_KEY")
    yield options.base_url.rstrip("/"), _keys(key, other)


def _keys(key: str, other: str) -> Mapping[str, str]:
    if not (key + other).isascii() or not (key + other).isprintable() or " " in key + other:
        raise ValueError(
            "an API key contains a character that an HTTP header cannot carry: check "
            "MOUNTSEA_API_KEY and MOUNTSEA_OTHER_API_KEY"
        )
    swapped = key.swapcase()
    placeholders = {
        "{key}": key,
        "{cut}": key[:-1] or "x",
        "{case}": swapped if swapped != key else f"{key}X",
    }
    return {**placeholders, "{other}": other} if other else placeholders


@contextlib.contextmanager
def _mock(spec: Path | None, overlay: Path | None) -> Iterator[str]:
    """Run the mock server in a separate process, so that it can use a second core."""
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
    command += ["--seconds", MOCK_SECONDS]
    command += ["--spec", str(spec)] if spec else []
    command += ["--overlay", str(overlay)] if overlay else []
    environment = {**os.environ, "MOCK_API_KEYS": ",".join(MOCK_KEYS)}
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            line = process.stdout.readline()
            if "serving at " not in line:
                raise ValueError(f"the mock server did not start: {line.strip() or 'no output'}")
            yield line.split()[3]
        finally:
            process.terminate()


def _read_baseline(path: Path | None) -> set[str]:
    from ._report import read_baseline

    if path is None:
        return set()
    try:
        return read_baseline(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot read the baseline {path}: {error}") from error


def _print_status(text: str) -> None:
    print(f"contract: {text}", flush=True)


def _fail(reason: str) -> int:
    print(f"contract: cannot test: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
