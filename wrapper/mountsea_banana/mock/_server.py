"""The mock on a port of this machine, in a thread, for programs and tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette

from mountsea_banana.contract import Contract

from ._app import create_app


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises OSError or OverflowError where the address is no good."""
    listener = socket.create_server((host, port))
    # An answer's head and body go out as two writes, and the second would wait 40 ms for the
    # client's acknowledgement of the first. Accepted connections inherit the option.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class MockServer:
    """A mock server that runs while its `with` block does.

    It listens on a free port of the loopback address, or on `port`. `app` replaces the
    application that is made of the contract and `keys`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        keys: Sequence[str] | None = None,
        spec: Path | None = None,
        app: Starlette | None = None,
    ) -> None:
        self._app = app or create_app(Contract.load(spec), keys)
        self._port = port

    @property
    def url(self) -> str:
        """The server's address, such as `http://127.0.0.1:8000`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def submissions(self) -> list[Mapping[str, Any]]:
        """The bodies of all accepted submissions, oldest first."""
        return [task.request for task in self._app.state.api.tasks.all()]

    def __enter__(self) -> Self:
        self._socket = listen("127.0.0.1", self._port)
        self._port = self._socket.getsockname()[1]
        config = uvicorn.Config(self._app, log_level="error", lifespan="off", timeout_keep_alive=60)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()
        self._socket.close()
