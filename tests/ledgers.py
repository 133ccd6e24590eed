"""Calls through a ledger, with clients of either kind, and transports to make them with."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Self

import httpx
import psycopg
import pytest
from attrs import field, frozen
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana
from mountsea_banana.ledger import Entry, Ledger, LedgerError
from mountsea_banana.ledger._store import Store

from tests.conftest import KEY, BoundedClock
from tests.faults import DEFAULT_HTTP

everywhere = pytest.mark.parametrize("location", ["sqlite", "postgresql"], indirect=True)
"""Runs a test with every kind of database."""

Handler = Callable[[httpx.Request], httpx.Response]


@frozen
class Caller:
    """Submits requests through a ledger, each with a client of its own."""

    url: str
    is_async: bool = False
    clock: InstantClock = field(factory=BoundedClock)

    def submit(
        self,
        ledger: Ledger,
        key: str = "cat",
        prompt: str = "a cat",
        *,
        then: Callable[[Any], Any] = lambda task: task.id,
        handler: Handler | None = None,
        api_key: str = KEY,
        client: dict[str, Any] | None = None,
        **once: Any,
    ) -> Any:
        """Submit a request for a key; return what `then` makes of its task.

        A `handler` takes the place of the server.
        """
        return self.call(
            lambda banana: ledger.once(key, banana, **once).generate(prompt),
            then=then,
            handler=handler,
            api_key=api_key,
            **(client or {}),
        )

    def call(
        self,
        submit: Callable[[Any], Any],
        *,
        then: Callable[[Any], Any] = lambda task: task.id,
        handler: Handler | None = None,
        api_key: str = KEY,
        **options: Any,
    ) -> Any:
        """Submit a request with a client; return what `then` makes of its task."""
        options = {"base_url": self.url, "clock": self.clock, **options}
        if self.is_async:
            return asyncio.run(_call_async(submit, then, handler, api_key, options))
        transport = httpx.MockTransport(handler) if handler else None
        with (
            httpx.Client(transport=transport, **DEFAULT_HTTP) as http,
            NanoBanana(api_key, http_client=http, **options) as banana,
        ):
            return then(submit(banana))


async def _call_async(
    submit: Callable[[Any], Any],
    then: Callable[[Any], Any],
    handler: Handler | None,
    api_key: str,
    options: dict[str, Any],
) -> Any:
    transport = httpx.MockTransport(handler) if handler else None
    async with (
        httpx.AsyncClient(transport=transport, **DEFAULT_HTTP) as http,
        AsyncNanoBanana(api_key, http_client=http, **options) as banana,
    ):
        result = then(await submit(banana))
        return await result if inspect.isawaitable(result) else result


class Gate:
    """A server that receives a request, and responds when the test opens it or leaves the block."""

    def __init__(self, task_id: str = "t-1") -> None:
        self.is_reached = threading.Event()
        self.is_open = threading.Event()
        self.posts = 0
        self._task_id = task_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.is_open.set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.posts += 1
        self.is_reached.set()
        assert self.is_open.wait(30), "the test never opens the gate"
        return created(self._task_id)


def end_claims(location: str) -> None:
    """Let the claims of a ledger end now, as if their time had passed."""
    statement = "UPDATE submissions SET ends_at = claimed_at"
    if location.startswith("postgresql"):
        with psycopg.connect(location) as server:
            server.execute(statement)
        return
    with contextlib.closing(sqlite3.connect(location)) as file, file:
        file.execute(statement)


def fail_to_record(store: Store, entry: Entry, task_id: str) -> None:
    """Take the place of `Store.accept` in a ledger that cannot be written any more."""
    store.unrecorded[entry.claim] = entry, task_id
    raise LedgerError("the server is gone")


def created(task_id: str = "t-1") -> httpx.Response:
    """Return the response to an accepted submission."""
    return httpx.Response(201, json={"taskId": task_id})
