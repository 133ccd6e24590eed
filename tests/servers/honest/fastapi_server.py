"""FastAPI with pydantic models and a worker per task.

Settings that the contract requires, beside FastAPI's defaults:
- `strict=True`: pydantic reads "1" as a number.
- `num_images` is a float that equals 1: `Literal[1]` admits `true`.
- Optional fields have a type without `None`: `str | None` admits null.
"""

import asyncio
import io
import sys
import uuid
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

ACCOUNTS = {"test-token": "first", "other-token": "second"}
WIDE = ("1:4", "4:1", "1:8", "8:1")
SIZES = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "9:16": (768, 1344),
    "4:3": (1184, 864),
    "3:4": (864, 1184),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "5:4": (1152, 896),
    "4:5": (896, 1152),
    "21:9": (1536, 672),
    "1:4": (512, 2064),
    "4:1": (2064, 512),
    "1:8": (352, 2928),
    "8:1": (2928, 352),
}

ImageUrl = Annotated[str, StringConstraints(pattern=r"^(?i:https?)://([^/?#@]*@)?[^/?#@:]")]


class ImageRequest(BaseModel):
    model_config = ConfigDict(strict=True)

    prompt: str
    action: Literal["edit", "generate"]
    num_images: Annotated[float, Field(ge=1, le=1)] = 1
    image_urls: list[ImageUrl] = Field(default_factory=list)
    aspect_ratio: Literal[
        "21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16",
        "1:4", "4:1", "1:8", "8:1",
    ] = "1:1"  # fmt: skip
    model: Literal["nano-banana-fast", "nano-banana-pro", "nano-banana-2"] = "nano-banana-fast"
    resolution: Literal["1K", "2K", "4K"] = "1K"

    @model_validator(mode="after")
    def check_combination(self) -> "ImageRequest":
        if self.action == "edit" and not self.image_urls:
            raise ValueError("image_urls is required to edit")
        if "resolution" in self.model_fields_set and self.model == "nano-banana-fast":
            raise ValueError("nano-banana-fast has no resolution")
        if self.aspect_ratio in WIDE and self.model != "nano-banana-2":
            raise ValueError(f"{self.aspect_ratio} is for nano-banana-2")
        return self


class Task(BaseModel):
    owner: str
    request: ImageRequest
    color: str
    status: str = "pending"


app = FastAPI()
bearer = HTTPBearer()
tasks: dict[str, Task] = {}
workers: set[asyncio.Task[None]] = set()


def account(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    if credentials.credentials not in ACCOUNTS:
        raise HTTPException(401, "Invalid key")
    return ACCOUNTS[credentials.credentials]


async def work(task: Task) -> None:
    for status in ("ready", "assigned", "processing", "completed"):
        await asyncio.sleep(0.01)
        task.status = status


@app.post("/gemini/image/generate", status_code=201)
async def generate(body: ImageRequest, owner: Annotated[str, Depends(account)]) -> dict[str, str]:
    task_id = str(uuid.uuid4())
    tasks[task_id] = Task(owner=owner, request=body, color=f"#{task_id[:6]}")
    worker = asyncio.create_task(work(tasks[task_id]))
    workers.add(worker)
    worker.add_done_callback(workers.discard)
    return {"taskId": task_id}


@app.get("/gemini/task/result")
async def result(
    taskId: str,  # noqa: N803
    request: Request,
    owner: Annotated[str, Depends(account)],
) -> dict[str, Any]:
    task = tasks.get(taskId)
    if task is None or task.owner != owner:
        raise HTTPException(404, "No such task")
    snapshot: dict[str, Any] = {"taskId": taskId, "status": task.status}
    if task.status == "completed":
        snapshot["result"] = {"imageUrls": [str(request.url_for("image", task_id=taskId))]}
    return snapshot


@app.get("/files/{task_id}.png")
def image(task_id: str) -> Response:
    if task_id not in tasks:
        raise HTTPException(404)
    task = tasks[task_id]
    content = io.BytesIO()
    Image.new("RGB", SIZES[task.request.aspect_ratio], task.color).save(content, "png")
    return Response(content.getvalue(), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
