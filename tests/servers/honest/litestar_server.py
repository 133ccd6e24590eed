"""Litestar with msgspec structs, and a worker that requeues every task once.

Settings that the contract requires, beside Litestar's defaults:
- The body is decoded with `strict=True`: Litestar's own decoder reads "1" as a number.
- Optional fields are `| UnsetType`: `| None` admits null.
"""

import base64
import io
import itertools
import secrets
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException, NotAuthorizedException, ValidationException
from msgspec import UNSET, Meta, Struct, UnsetType
from PIL import Image

ACCOUNTS = ("test-token", "other-token")
ImageUrl = Annotated[str, Meta(pattern=r"^[hH][tT][tT][pP][sS]?://([^/?#@]*@)?[^/?#@:]")]
Ratio = Literal[
    "21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16",
    "1:4", "4:1", "1:8", "8:1",
]  # fmt: skip


class NanoImage(Struct):
    prompt: str
    action: Literal["edit", "generate"]
    num_images: float | UnsetType = UNSET
    image_urls: list[ImageUrl] | UnsetType = UNSET
    aspect_ratio: Ratio | UnsetType = UNSET
    model: Literal["nano-banana-fast", "nano-banana-pro", "nano-banana-2"] = "nano-banana-fast"
    resolution: Literal["1K", "2K", "4K"] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.num_images not in (1, UNSET):
            raise ValueError("one image only")
        if self.action == "edit" and not self.image_urls:
            raise ValueError("an edit needs image_urls")
        if self.resolution is not UNSET and self.model == "nano-banana-fast":
            raise ValueError("resolution needs nano-banana-pro or nano-banana-2")
        if self.aspect_ratio in ("1:4", "4:1", "1:8", "8:1") and self.model != "nano-banana-2":
            raise ValueError("this aspect_ratio needs nano-banana-2")


def lifecycle() -> "itertools.chain[str]":
    return itertools.chain(
        ("pending", "processing", "pending", "assigned", "processing"),
        itertools.repeat("completed"),
    )


@dataclass
class Job:
    key: str
    request: NanoImage
    color: tuple[int, ...] = field(default_factory=lambda: tuple(secrets.token_bytes(3)))
    statuses: "itertools.chain[str]" = field(default_factory=lifecycle)


jobs: dict[str, Job] = {}


def authenticate(request: Request[Any, Any, Any]) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or key not in ACCOUNTS:
        raise NotAuthorizedException("Give a valid key")
    return key


@post("/gemini/image/generate", status_code=201)
async def generate(request: Request[Any, Any, Any]) -> dict[str, str]:
    key = authenticate(request)
    try:
        body = msgspec.json.decode(await request.body(), type=NanoImage, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValidationException(str(error)) from error
    task_id = base64.b64encode(secrets.token_bytes(13)).decode()
    jobs[task_id] = Job(key, body)
    return {"taskId": task_id}


@get("/gemini/task/result")
async def result(request: Request[Any, Any, Any]) -> dict[str, Any]:
    key = authenticate(request)
    task_id = request.query_params.get("taskId", "")
    job = jobs.get(task_id)
    if job is None or job.key != key:
        raise HTTPException("No such task", status_code=404)
    snapshot: dict[str, Any] = {"taskId": task_id, "status": next(job.statuses)}
    if snapshot["status"] == "completed":
        name = task_id.encode().hex()
        snapshot["result"] = {
            "page": f"{request.base_url}gallery/{name}",
            "image_urls": [] if job.request.image_urls is UNSET else job.request.image_urls,
            "images": [{"url": f"{request.base_url}images/{name}", "content_type": "image/webp"}],
        }
    return snapshot


@get("/images/{name:str}")
async def picture(name: str) -> Response[bytes]:
    job = jobs.get(bytes.fromhex(name).decode())
    if job is None:
        raise HTTPException(status_code=404)
    ratio = "1:1" if job.request.aspect_ratio is UNSET else job.request.aspect_ratio
    width, height = (int(side) for side in ratio.split(":"))
    size = (1024, 1024 * height // width) if width > height else (1024 * width // height, 1024)
    content = io.BytesIO()
    Image.new("RGB", size, job.color).save(content, "webp", lossless=True)
    return Response(content.getvalue(), media_type="image/webp")


@get("/gallery/{name:str}", media_type="text/html")
async def page(name: str) -> str:
    return f"<!doctype html><title>Your image</title><img src='/images/{name}'>"


app = Litestar([generate, result, picture, page])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
