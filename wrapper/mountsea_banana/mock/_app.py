"""The ASGI application of the mock: the API, its control API and a page that shows the tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mountsea_banana._shared.clock import Clock
from mountsea_banana.contract import Contract

from ._api import MockAPI
from ._control import control_routes
from ._page import page_routes
from ._plan import Plan

DEFAULT_KEYS = ("test-token", "other-token")
"""The API keys that a mock accepts by default, one per account."""
# Web pages of this machine, such as those of a front end's development server.
LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


class _CORS(CORSMiddleware):
    """CORS that costs a request without an origin nothing; the original adds a fifth to it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_origin = any(name == b"origin" for name, _ in scope.get("headers", ()))
        await (super().__call__ if has_origin else self.app)(scope, receive, send)


def create_app(
    contract: Contract,
    keys: Sequence[str] | None = None,
    plan: Plan | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """Return the ASGI application that serves a contract.

    `keys` are the API keys it accepts, one per account. They default to those in MOCK_API_KEYS,
    separated by commas, or else to `test-token` and `other-token`. `plan` is the initial plan of
    every task. `clock` measures the duration of tasks whose plan advances with time. The API
    is in `app.state.api`. Plans that drop or truncate work only with `MockServer` and the
    mock's command, because other servers do not let a response close its connection.
    """
    if keys is None:
        named = os.environ.get("MOCK_API_KEYS", "").split(",")
        keys = [key.strip() for key in named if key.strip()] or DEFAULT_KEYS
    return build_app(MockAPI(contract, keys, plan, clock), contract)


def build_app(api: MockAPI, contract: Contract) -> Starlette:
    """Return the application that serves `api`, which may be a subclass with other behaviour."""
    routes = [
        Route(operation.path, api.handler(operation), methods=[operation.method])
        for operation in contract.operations
    ]
    routes += [
        *page_routes(api, contract),
        Route("/openapi.yaml", api.spec),
        Route("/images/{task_id}.png", api.image),
        *control_routes(api),
    ]
    cors = Middleware(
        _CORS,
        allow_origin_regex=LOCAL_ORIGINS,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["Retry-After", "WWW-Authenticate"],
    )
    app = Starlette(
        routes=routes, middleware=[cors], exception_handlers={HTTPException: _unknown_route}
    )
    app.state.api = api
    return app


def _unknown_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    message = f"{error.detail}: see {request.base_url}openapi.yaml for the supported operations"
    return JSONResponse({"message": message}, error.status_code, headers=error.headers)
