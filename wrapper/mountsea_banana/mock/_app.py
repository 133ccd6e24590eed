"""The ASGI application of the mock: the API, its control routes and a page for people."""

from __future__ import annotations

import os
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mountsea_banana._shared.clock import Clock
from mountsea_banana.contract import Contract

from ._api import MockAPI
from ._control import control_routes
from ._page import page_route
from ._plan import Plan

DEFAULT_KEYS = ("test-token", "other-token")
"""The keys that a mock knows which is given none: two accounts."""


def create_app(
    contract: Contract,
    keys: Sequence[str] | None = None,
    plan: Plan | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """Return the ASGI application that serves a contract.

    `keys` are the accounts' keys; by default those in MOCK_API_KEYS, separated by commas, or
    `test-token` and `other-token`. `plan` is how every task lives that is told nothing else, and
    `clock` what its seconds are counted by. The API is at `app.state.api`. A plan that drops or
    truncates needs `MockServer` or its command: another server's connections cannot be closed.
    """
    if keys is None:
        named = os.environ.get("MOCK_API_KEYS", "").split(",")
        keys = [key.strip() for key in named if key.strip()] or DEFAULT_KEYS
    return app_of(MockAPI(contract, keys, plan, clock), contract)


def app_of(api: MockAPI, contract: Contract) -> Starlette:
    """Return the application of an API, so that one that differs can be served as well."""
    routes = [
        page_route(api),
        Route("/openapi.yaml", api.spec),
        Route("/pictures/{task_id}.png", api.picture, name="picture"),
        *control_routes(api),
    ]
    routes += [
        Route(operation.path, api.handler(operation), methods=[operation.method])
        for operation in contract.operations
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse_route})
    app.state.api = api
    return app


def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    message = f"{error.detail}: the operations stand in {request.base_url}openapi.yaml"
    return JSONResponse({"message": message}, error.status_code, headers=error.headers)
