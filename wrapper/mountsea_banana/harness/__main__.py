"""Test whether a server keeps the contract of the image API.

Exits with 0 where it does, 1 where it does not, 2 where that could not be tested.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mountsea_banana._shared.extras import missing
from mountsea_banana._shared.hosts import is_loopback

SEED = 1
SECONDS_OF_LIFE = 20.0
SECONDS_OF_LIFE_ELSEWHERE = 600.0
MOCK_KEYS = ("test-token", "other-token")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _main(options)
    except ImportError as error:
        return _cannot(missing(error, "contract"))
    except KeyboardInterrupt:
        return _cannot("interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mountsea_banana.harness",
        description=__doc__,
        epilog="The key is taken from MOUNTSEA_API_KEY, a second account's from "
        "MOUNTSEA_OTHER_API_KEY.",
    )
    parser.add_argument("--base-url", help="the server to test; without it a mock is started")
    parser.add_argument(
        "--budget",
        type=int,
        help="how many submissions may be accepted; by default 0, and on this machine any number",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="repeats a run exactly")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    parser.add_argument("--thorough", action="store_true", help="draw far more bodies, in minutes")
    parser.add_argument(
        "--baseline", type=Path, help="a file of known deviations, one id a line, that do not count"
    )
    parser.add_argument("--report", type=Path, default=Path("contract-report"), metavar="FOLDER")
    parser.add_argument(
        "--spec", type=Path, help="the OpenAPI document; by default the shipped one"
    )
    return parser


def _main(options: argparse.Namespace) -> int:
    from mountsea_banana.contract import Contract, ContractError

    from . import _plan, _report
    from ._run import CannotTest, Run
    from ._transport import Server

    is_terminal = sys.stderr.isatty()

    def progress(doing: str, sent: int) -> None:
        if is_terminal and sent % 25 == 0:
            line = f"contract: {sent:,} of about {total:,} requests: {doing}"
            columns = shutil.get_terminal_size().columns
            print(f"\r{line[: columns - 1]:<{columns - 1}}", end="", file=sys.stderr, flush=True)

    try:
        known_ids = _read_baseline(options.baseline)
        budget = _budget(options)
        contract = Contract.load(options.spec)
        with _server(options) as (base_url, keys):
            _say(f"testing {base_url} with seed {options.seed}")
            plan = _plan.make(contract, options.seed, thorough=options.thorough)
            total = plan.size
            is_here = is_loopback(urlsplit(base_url).hostname or "")
            run = Run(
                plan,
                Server(base_url, keys),
                budget=budget,
                has_other_key="{other}" in keys,
                seconds_of_life=SECONDS_OF_LIFE if is_here else SECONDS_OF_LIFE_ELSEWHERE,
                stop_at_first=options.fail_fast,
                progress=progress,
            )
            outcome = run.go()
            if is_terminal:
                print("\r\x1b[K", end="", file=sys.stderr)
    except (CannotTest, ContractError, OSError, ValueError) as error:
        return _cannot(str(error))
    new = [cause for cause in outcome.causes if cause.id not in known_ids]
    known = [cause for cause in outcome.causes if cause.id in known_ids]
    for line in _report.text(outcome, new, known):
        print(line)
    for gone in sorted(known_ids - {cause.id for cause in outcome.causes}):
        print(f"no longer seen, remove it from {options.baseline}: {gone}")
    try:
        _report.write_junit(outcome, new, known, options.report / "junit.xml")
        _report.write_page(outcome, new, known, options.report / "index.html")
    except OSError as error:
        return _cannot(f"the report cannot be written: {error}")
    status, sentence = _report.verdict(outcome, new)
    _say(f"{sentence}; see {options.report / 'index.html'}")
    return status


def _budget(options: argparse.Namespace) -> int | None:
    if options.budget is not None and options.budget < 0:
        raise ValueError(f"a budget is a number from 0 up, not {options.budget}")
    here = options.base_url is None or is_loopback(urlsplit(options.base_url).hostname or "")
    return options.budget if options.budget is not None or here else 0


@contextlib.contextmanager
def _server(options: argparse.Namespace) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Give the address of the server under test, and its keys."""
    if options.base_url is None:
        with _mock(options.spec) as base_url:
            yield base_url, _keys(*MOCK_KEYS)
        return
    parts = urlsplit(options.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(f"{options.base_url!r} is no http(s) address of a server")
    is_here = is_loopback(parts.hostname)
    if parts.scheme == "http" and not is_here:
        raise ValueError(f"{options.base_url} would send the key in the clear: use https://")
    key = os.environ.get("MOUNTSEA_API_KEY", "").strip()
    other = os.environ.get("MOUNTSEA_OTHER_API_KEY", "").strip()
    if not key and not is_here:
        raise ValueError(f"no key for {options.base_url}: set MOUNTSEA_API_KEY")
    yield options.base_url.rstrip("/"), _keys(key or MOCK_KEYS[0], other)


def _keys(key: str, other: str) -> Mapping[str, str]:
    if not (key + other).isascii() or not (key + other).isprintable() or " " in key + other:
        raise ValueError("a key in the environment holds a character that no header can carry")
    swapped = key.swapcase()
    fill = {
        "{key}": key,
        "{cut}": key[:-1] or "x",
        "{case}": swapped if swapped != key else f"{key}X",
    }
    return {**fill, "{other}": other} if other else fill


@contextlib.contextmanager
def _mock(spec: Path | None) -> Iterator[str]:
    """Run the mock server in a process of its own, so that it has a core of its own."""
    command = [sys.executable, "-m", "mountsea_banana.mock", "--port", "0"]
    command += ["--spec", str(spec)] if spec else []
    environment = {**os.environ, "MOCK_API_KEYS": ",".join(MOCK_KEYS)}
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            line = process.stdout.readline()
            if "serving at " not in line:
                raise ValueError(f"the mock did not start: {line.strip() or 'it said nothing'}")
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
        raise ValueError(f"the baseline {path} cannot be read: {error}") from error


def _say(text: str) -> None:
    print(f"contract: {text}", flush=True)


def _cannot(why: str) -> int:
    print(f"contract: cannot test: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
