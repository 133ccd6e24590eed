"""The server under test: the mock, or the one at CONTRACT_BASE_URL, over real HTTP either way."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from mountsea_banana._settings import is_loopback
from mountsea_banana.contract import Contract
from mountsea_banana.mock import DEFAULT_KEYS, MockServer


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract.load()


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    """The address of the server under test."""
    given = os.environ.get("CONTRACT_BASE_URL", "")
    if not given:
        with MockServer(keys=DEFAULT_KEYS) as server:
            yield server.url
        return
    if not is_loopback(httpx.URL(given).host):
        pytest.exit(f"{given} is not on this machine: these tests submit tasks, which costs", 2)
    yield given.rstrip("/")


@pytest.fixture(scope="session")
def key() -> str:
    return os.environ.get("MOUNTSEA_API_KEY") or DEFAULT_KEYS[0]


@pytest.fixture(scope="session")
def api(base_url: str, key: str) -> Iterator[httpx.Client]:
    """A plain HTTP client with the key; exits with 2 where the server cannot be tested."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=base_url, headers=headers) as client:
        try:
            status = client.get("/gemini/task/result", params={"taskId": "unknown"}).status_code
        except httpx.TransportError as error:
            pytest.exit(f"no server answers at {base_url}: {error}", 2)
        if status in (401, 403):
            pytest.exit(f"{base_url} refuses the key in MOUNTSEA_API_KEY ({status})", 2)
        yield client
