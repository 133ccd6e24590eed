"""The mock on a local port, served from a thread of the current process."""

from __future__ import annotations

import socket
import threading
from asyncio import Transport
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from mountsea_banana._shared.clock import Clock
from mountsea_banana.contract import Contract

from ._api import MockAPI
from ._app import create_app
from ._plan import Plan


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets a response close its connection: `scope["state"]["transport"]`."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}

    def shutdown(self) -> None:
        super().shutdown()
        self.transport.close()  # the events of an open page would never end


def config(app: Starlette, log_level: str) -> uvicorn.Config:
    """Return the uvicorn configuration of the mock."""
    return uvicorn.Config(
        app, http=_Protocol, log_level=log_level, lifespan="off", timeout_keep_alive=60
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError or OverflowError if it cannot be opened."""
    if not host:
        raise OSError("an empty host means every network interface: use 0.0.0.0 if you want that")
    listener = socket.create_server((host, port))
    # Headers and body are two writes. Without this option the second would wait 40 ms for the
    # client to acknowledge the first. Accepted connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class MockServer:
    """A mock server that runs for the duration of its `with` block.

    It listens on 127.0.0.1, on a free port unless you pass `port`. `keys` are the API keys it
    accepts, one per account. They default to those in MOCK_API_KEYS, separated by commas, or else
    to `test-token` and `other-token`. `spec` is an OpenAPI document to serve instead of the
    bundled spec, and `overlay` an OpenAPI Overlay document with its rules. `plan` is the initial
    plan of every task: by default, each poll advances a task and the third returns `completed`.
    `clock` measures the duration of tasks whose plan advances with time. `app` replaces the ASGI
    application, and `keys`, `spec`, `overlay` and `plan` are then ignored.
    Raises ContractError if the spec or overlay is unusable and OSError if the port is taken.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        keys: Sequence[str] | None = None,
        spec: Path | None = None,
        overlay: Path | None = None,
        plan: Plan | None = None,
        clock: Clock | None = None,
        app: Starlette | None = None,
    ) -> None:
        self.clock = clock or Clock()
        """The clock that measures the duration of tasks whose plan advances with time."""
        self._app = app or create_app(Contract.load(spec, overlay), keys, plan, self.clock)
        self._port = port

    @property
    def _api(self) -> MockAPI:
        api: MockAPI = self._app.state.api
        return api

    @property
    def url(self) -> str:
        """The server's base URL, such as `http://127.0.0.1:8000`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def submissions(self) -> list[Mapping[str, Any]]:
        """The request bodies of the accepted submissions, oldest first. The last 5000 are kept."""
        return [task.request for task in self._api.tasks.all()]

    @property
    def charged(self) -> int:
        """The number of accepted submissions, including those whose response was dropped."""
        return self._api.charged

    @property
    def plan(self) -> Plan:
        """The plan of each submission for which `next_task` sets no other. You can assign to it."""
        return self._api.plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._api.plan = plan

    def next_task(self, plan: Plan) -> None:
        """Use this plan for the next submission only. Repeated calls queue their plans in order."""
        self._api.next_plans.append(plan)

    def advance(self, task_id: str | None = None) -> None:
        """Advance one task by a step, or all tasks whose plan advances manually (`hand`).

        Raises ValueError if the task does not exist or does not advance manually.
        """
        self._api.advance(task_id)

    def reset(self) -> None:
        """Forget all tasks, charges and queued plans, and restore the initial plan."""
        self._api.reset()

    def __enter__(self) -> Self:
        self._socket = listen("127.0.0.1", self._port)
        self._port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(config(self._app, "error"))
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
