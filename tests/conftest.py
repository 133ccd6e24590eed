"""What the tests share: the real mock server, and clients that wait no real time."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from mountsea_banana import NanoBanana
from mountsea_banana._clock import Clock
from mountsea_banana.mock import MockServer

KEY = "test-token"


class TestClock(Clock):
    """A clock that a sleep moves on at once, and that remembers the sleeps."""

    __test__ = False

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000 + self.now

    def jitter(self) -> float:
        return 0.5

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture(scope="session", autouse=True)
def _no_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOUNTSEA_API_KEY", "MOUNTSEA_BASE_URL", "MOCK_API_KEYS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def server() -> Iterator[MockServer]:
    """A mock server with no tasks yet."""
    with MockServer() as running:
        yield running


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def banana(server: MockServer, clock: TestClock) -> Iterator[NanoBanana]:
    """A client of the mock that waits no real time."""
    with NanoBanana(KEY, base_url=server.url) as client:
        client._settings = attrs.evolve(client._settings, clock=clock)
        yield client
