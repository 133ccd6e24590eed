"""What the tests share: no setting of the environment, and a clock that waits no real time.

The mock server and the clients of it are the package's own fixtures, `banana_server` and `banana`.
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
    # A suite that a shell runs in the background would ignore Ctrl-C, and its children as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class PatientClock(InstantClock):
    """A clock that ends a loop which would sleep for ever."""

    def sleep(self, seconds: float) -> None:
        assert len(self.sleeps) < 1000, "it sleeps for ever"
        super().sleep(seconds)


@pytest.fixture
def clock() -> InstantClock:
    return PatientClock()
