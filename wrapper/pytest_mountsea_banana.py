"""Fixtures for the tests of programs that use mountsea-banana: they cost and send nothing.

`banana_server` is a mock server on a free port, `banana` and `async_banana` are clients of it that
wait no real time. pytest loads this module in every suite of an environment in which the package
is installed; it therefore imports nothing of it before a fixture is asked for.
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
    """A mock server at `banana_server.url`, as at its start in each test.

    Its keys are `test-token` and `other-token`: two accounts. Needs the extra `mock`.
    """
    from mountsea_banana._shared.clock import InstantClock
    from mountsea_banana.mock import DEFAULT_KEYS, MockServer

    with MockServer(keys=DEFAULT_KEYS, clock=InstantClock()) as server:
        pytestconfig.stash[_server_key] = server
        yield server
    del pytestconfig.stash[_server_key]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each test the server without the tasks of the one before."""
    server = item.config.stash.get(_server_key, None)
    if server:
        server.reset()


@pytest.fixture
def banana(banana_server: MockServer) -> Iterator[NanoBanana]:
    """A client of `banana_server`; where it would wait, it moves on the server's time as well."""
    import attrs
    from mountsea_banana import NanoBanana

    with NanoBanana("test-token", base_url=banana_server.url) as client:
        client._settings = attrs.evolve(client._settings, clock=banana_server.clock)
        yield client


@pytest.fixture
def async_banana(banana_server: MockServer) -> AsyncNanoBanana:
    """Like `banana`, in the event loop of the test, whichever plugin runs that."""
    import attrs
    import httpx
    from mountsea_banana import AsyncNanoBanana

    # No connection outlives its answer, so that none is left when the test's loop is closed.
    http = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0))
    client = AsyncNanoBanana("test-token", base_url=banana_server.url, http_client=http)
    client._settings = attrs.evolve(client._settings, clock=banana_server.clock)
    return client
