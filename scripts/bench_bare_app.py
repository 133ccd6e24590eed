"""The least that a mock could do, on the mock's own server: `bench.py` measures how fast it is."""

from __future__ import annotations

import uuid

import uvicorn
from mountsea_banana.mock._server import config, listen
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def create(request: Request) -> JSONResponse:
    """Parse the request body, and return a task id."""
    await request.json()
    return JSONResponse({"taskId": str(uuid.uuid4())}, 201)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/{path:path}", create, methods=["POST"])])
    listener = listen("127.0.0.1", 0)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config(app, "error")).run(sockets=[listener])
