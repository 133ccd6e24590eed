"""Fixtures for all tests: an environment without settings, and a clock that never really sleeps.

The mock server and its client are the fixtures `banana_server` and `banana` of this package's
pytest plugin.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from mountsea_banana import InstantClock

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
