"""Streamable HTTP on this machine, for callers that have the token."""

from __future__ import annotations

import hmac
import socket
from typing import Any

import uvicorn
from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
PATH = "/mcp"


class RequireToken:
    """Lets only requests with the token pass."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        given = Headers(scope=scope).get("authorization", "") if scope["type"] == "http" else None
        if given is None or hmac.compare_digest(given.encode(), self._expected):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("the bearer token is missing or wrong", 401)
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)


async def serve(server: Server[Any], listener: socket.socket, token: str) -> None:
    """Serve until the process is interrupted.

    Browsers cannot reach it: their requests have another `Origin`, or after DNS rebinding another
    `Host`.
    """
    port = listener.getsockname()[1]
    names = [f"{host}:{port}" for host in HOSTS]
    security = TransportSecuritySettings(
        allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
    )
    app = RequireToken(
        server.streamable_http_app(streamable_http_path=PATH, transport_security=security), token
    )
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    await uvicorn.Server(config).serve(sockets=[listener])
