"""Connections to a PostgreSQL server: they end in bounded time, and leave nothing in a session."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sql
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, event

T = TypeVar("T")

RESPONSE_SECONDS = 15.0
"""How long the server may be silent. It ends a statement itself before that."""


def create_engine(url: sql.URL, *, lock_seconds: float) -> Engine:
    """Return an engine for a server. A statement fails if it takes longer than `lock_seconds`."""
    options: dict[str, Any] = {
        # A pooler such as PgBouncer may give the next transaction to another session, which does
        # not have the prepared statements.
        "prepare_threshold": None,
        # Whatever the database or the environment says: prompts have every script.
        "client_encoding": "utf8",
    }
    if "connect_timeout" not in url.query:
        options["connect_timeout"] = round(lock_seconds)
    engine = sql.create_engine(
        url,
        pool_pre_ping=True,
        # Each statement must see what others have committed before it.
        isolation_level="READ COMMITTED",
        connect_args=options,
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "begin", partial(_begin, milliseconds=round(lock_seconds * 1000)))
    return engine


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that breaks if the server is silent for too long.

    The timeouts of TCP do not suffice: a proxy acknowledges packets even if nothing behind it does.
    """

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        """Wait for the server."""
        return super().wait(self._bounded(gen), *arguments, **options)

    def _bounded(self, gen: PQGen[T]) -> PQGen[T]:
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # nothing is ready every 0.1 s, so that Ctrl-C is noticed
                now = time.monotonic()
                if ready:
                    heard = now
                if now - heard > RESPONSE_SECONDS:
                    self.close()
                    raise psycopg.OperationalError("the server does not respond")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> BoundedConnection:
    return BoundedConnection.connect(*arguments, **options)


def _begin(connection: Connection, *, milliseconds: int) -> None:
    # For the transaction only, because others may use the session after it.
    connection.exec_driver_sql(
        "SET LOCAL synchronous_commit = on;"
        f"SET LOCAL lock_timeout = {milliseconds};"
        f"SET LOCAL statement_timeout = {milliseconds}"
    )
