"""pytest fixtures for testing programs that use mountsea-banana, free of charge.

`banana_server` is a mock server on a free port. `banana` and `async_banana` are clients of it whose
waits take no real time. pytest loads this module in every environment that has the package, so it
imports nothing else from the package until a fixture is requested.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mountsea_banana import AsyncNanoBanana, NanoBanana
    from mountsea_banana.mock import MockServer

_server_key = pytest.StashKey["MockServer"]()


@pytest.fixture(scope="session")
def banana_server(pytestconfig: pytest.Config) -> Iterator[MockServer]:
    """A mock server at `banana_server.url`; it and its clock are reset before each test.

    Its keys are `test-token` and `other-token`, one per account. Needs the `mock` extra.
    """
    from mountsea_banana import InstantClock
    from mountsea_banana.mock import DEFAULT_KEYS, MockServer

    with MockServer(keys=DEFAULT_KEYS, clock=InstantClock()) as server:
        pytestconfig.stash[_server_key] = server
        yield server
    del pytestconfig.stash[_server_key]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remove the tasks of the previous test from the server, and reset its clock."""
    server = item.config.stash.get(_server_key, None)
    if server:
        from mountsea_banana import InstantClock

        server.reset()
        if isinstance(server.clock, InstantClock):
            server.clock.reset()


@pytest.fixture
def banana(banana_server: MockServer) -> Iterator[NanoBanana]:
    """A client of `banana_server`. Its pauses advance the server's clock and take no real time."""
    from mountsea_banana import NanoBanana

    with NanoBanana("test-token", base_url=banana_server.url, clock=banana_server.clock) as client:
        yield client


@pytest.fixture
def async_banana(banana_server: MockServer) -> AsyncNanoBanana:
    """Like `banana`, but asynchronous. Works in any event loop, with or without a pytest plugin."""
    import httpx
    from mountsea_banana import AsyncNanoBanana

    # No connection outlives its response, so none is left when the test's loop is closed.
    http = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0))
    return AsyncNanoBanana(
        "test-token", base_url=banana_server.url, http_client=http, clock=banana_server.clock
    )
