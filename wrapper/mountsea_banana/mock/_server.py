"""The mock on a port of this machine, in a thread, for programs and tests."""

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
    """HTTP over a connection that an answer may close: it is `scope["state"]["transport"]`."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def config(app: Starlette, log_level: str) -> uvicorn.Config:
    """Return how the mock is served."""
    return uvicorn.Config(
        app, http=_Protocol, log_level=log_level, lifespan="off", timeout_keep_alive=60
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises OSError or OverflowError where the address is no good."""
    if not host:
        raise OSError("an empty host would be every address of this machine: name one")
    listener = socket.create_server((host, port))
    # An answer's head and body go out as two writes, and the second would wait 40 ms for the
    # client's acknowledgement of the first. Accepted connections inherit the option.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class MockServer:
    """A mock server that runs while its `with` block does.

    It listens on a free port of the loopback address, or on `port`. `keys` are its accounts' keys,
    by default those in MOCK_API_KEYS, separated by commas, or `test-token` and `other-token`.
    `spec` is an OpenAPI document to serve instead of the shipped one. `plan` is how its tasks live,
    by default: each poll moves them on, and the third sees them completed. `clock` is what their
    seconds are counted by. `app` replaces the application that is made of all this. Raises
    ContractError for an unusable spec, and OSError where the port is taken.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        keys: Sequence[str] | None = None,
        spec: Path | None = None,
        plan: Plan | None = None,
        clock: Clock | None = None,
        app: Starlette | None = None,
    ) -> None:
        self.clock = clock or Clock()
        """What the seconds of its tasks are counted by."""
        self._app = app or create_app(Contract.load(spec), keys, plan, self.clock)
        self._port = port

    @property
    def _api(self) -> MockAPI:
        api: MockAPI = self._app.state.api
        return api

    @property
    def url(self) -> str:
        """The server's address, such as `http://127.0.0.1:8000`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def submissions(self) -> list[Mapping[str, Any]]:
        """The bodies of the accepted submissions, of the last 5000 at most, oldest first."""
        return [task.request for task in self._api.tasks.all()]

    @property
    def charged(self) -> int:
        """How many submissions were accepted, those included whose answer was dropped."""
        return self._api.charged

    @property
    def plan(self) -> Plan:
        """How each task lives that `next_task` told nothing else; may be set."""
        return self._api.plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._api.plan = plan

    def next_task(self, plan: Plan) -> None:
        """Treat one submission like this: the next one, or the one after those already told of."""
        self._api.next_plans.append(plan)

    def advance(self, task_id: str | None = None) -> None:
        """Move one task, or all, that advance by hand a step on.

        Raises ValueError for a task that does not exist or does not advance by hand.
        """
        self._api.advance(task_id)

    def reset(self) -> None:
        """Be as at the start: without tasks or charges, and with the plan that it was made with."""
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
