"""A web service that generates images and shows each on a page.

    MOUNTSEA_API_KEY=… uvicorn fastapi_app:app
    curl -H 'Content-Type: application/json' -d '{"prompt": "a cat"}' http://127.0.0.1:8000/images

The URL of the page contains the task id. The service stores nothing, so any of its processes can
show any image.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from mountsea_banana import (
    AsyncNanoBanana,
    InvalidRequest,
    NanoBananaError,
    NotFoundError,
    SubmissionUnknown,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Share one client and its connection pool for as long as the service runs."""
    async with AsyncNanoBanana() as banana:
        app.state.banana = banana
        yield


app = FastAPI(lifespan=lifespan)


def client(request: Request) -> AsyncNanoBanana:
    """Return the service's client."""
    banana: AsyncNanoBanana = request.app.state.banana
    return banana


Banana = Annotated[AsyncNanoBanana, Depends(client)]


@app.post("/images", status_code=202)
async def create_image(fields: dict[str, Any], banana: Banana) -> dict[str, str]:
    """Start generating an image and return the URL of its page."""
    task = await banana.submit({**fields, "action": "generate"})
    return {"page": f"/images/{task.id}"}


@app.get("/images/{task_id}", response_class=HTMLResponse)
async def show_image(task_id: str, banana: Banana) -> str:
    """Show the image, or the task's status on a page that reloads until the task ends."""
    snapshot = await banana.task(task_id).fetch()
    if snapshot.image_urls:
        return f'<img src="{html.escape(snapshot.image_urls[0])}" alt="">'
    if snapshot.is_final:
        return f"<p>No image: {html.escape(snapshot.error_message or snapshot.status)}</p>"
    return f'<meta http-equiv="refresh" content="3"><p>{html.escape(snapshot.status)} …</p>'


@app.exception_handler(NanoBananaError)
async def explain(_: Request, error: NanoBananaError) -> JSONResponse:
    """Return the error as JSON. The package's errors never contain the API key."""
    match error:
        case InvalidRequest():
            messages = [f"{each.field}: {each.message}" for each in error.violations]
            return JSONResponse({"detail": messages}, 422)
        case NotFoundError():
            return JSONResponse({"detail": "image not found"}, 404)
        case SubmissionUnknown():
            messages = ["this may have been charged: check your account before you retry"]
            return JSONResponse({"detail": messages, "task": error.task_id}, 502)
        case _:
            return JSONResponse(
                {"detail": "the image service is unavailable: try again later"}, 503
            )
