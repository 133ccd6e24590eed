"""A web service that makes pictures, and a page that shows each.

    MOUNTSEA_API_KEY=… uvicorn fastapi_app:app
    curl -H 'Content-Type: application/json' -d '{"prompt": "a cat"}' http://127.0.0.1:8000/pictures

The task's id is the picture's address: the service keeps nothing, and any of its processes can
show any picture.
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
    """Keep one client, and its connections, for as long as the service runs."""
    async with AsyncNanoBanana() as banana:
        app.state.banana = banana
        yield


app = FastAPI(lifespan=lifespan)


def client(request: Request) -> AsyncNanoBanana:
    """Return the service's client."""
    banana: AsyncNanoBanana = request.app.state.banana
    return banana


Banana = Annotated[AsyncNanoBanana, Depends(client)]


@app.post("/pictures", status_code=202)
async def make_picture(fields: dict[str, Any], banana: Banana) -> dict[str, str]:
    """Submit the making of a picture; answer with the address of its page."""
    task = await banana.submit({**fields, "action": "generate"})
    return {"page": f"/pictures/{task.id}"}


@app.get("/pictures/{task_id}", response_class=HTMLResponse)
async def show_picture(task_id: str, banana: Banana) -> str:
    """Show the picture, or where its task stands; the page comes back until that is final."""
    look = await banana.task(task_id).fetch()
    if look.image_urls:
        return f'<img src="{html.escape(look.image_urls[0])}" alt="">'
    if look.is_final:
        return f"<p>No picture: {html.escape(look.error_message or look.status)}</p>"
    return f'<meta http-equiv="refresh" content="3"><p>{html.escape(look.status)} …</p>'


@app.exception_handler(NanoBananaError)
async def explain(_: Request, error: NanoBananaError) -> JSONResponse:
    """Answer with what went wrong; no error of the package holds the key."""
    match error:
        case InvalidRequest():
            said = [f"{each.field}: {each.message}" for each in error.violations]
            return JSONResponse({"detail": said}, 422)
        case NotFoundError():
            return JSONResponse({"detail": "there is no such picture"}, 404)
        case SubmissionUnknown():
            said = ["this may have been charged: do not send it again before you have looked"]
            return JSONResponse({"detail": said, "task": error.task_id}, 502)
        case _:
            return JSONResponse(
                {"detail": "the image service cannot be used now; try again later"}, 503
            )
