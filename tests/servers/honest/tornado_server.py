"""Tornado with attrs classes and checks written by hand.

Settings that the contract requires, beside Tornado's defaults: none. Bodies end at 100 MB.
"""

import asyncio
import io
import json
import re
import sys
import time
import uuid
from typing import Any

import attrs
import tornado.httpserver
import tornado.web
from attrs import validators
from PIL import Image

WIDE = {"1:4", "4:1", "1:8", "8:1"}
NARROW = {"21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"}
IMAGE_URL = re.compile(r"https?://([^/?#@]*@)?[^/?#@:].*", re.IGNORECASE | re.DOTALL)


def one(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != 1:
        raise ValueError(f"{attribute.name} must be 1")


@attrs.frozen
class ImageRequest:
    prompt: str = attrs.field(validator=validators.instance_of(str))
    action: str = attrs.field(validator=validators.in_(["edit", "generate"]))
    num_images: float = attrs.field(default=1, validator=one)
    image_urls: list[str] = attrs.field(
        factory=list,
        validator=validators.deep_iterable(
            validators.and_(validators.instance_of(str), validators.matches_re(IMAGE_URL)),
            validators.instance_of(list),
        ),
    )
    aspect_ratio: str = attrs.field(default="1:1", validator=validators.in_([*NARROW, *WIDE]))
    model: str = attrs.field(
        default="nano-banana-fast",
        validator=validators.in_(["nano-banana-fast", "nano-banana-pro", "nano-banana-2"]),
    )
    resolution: str | None = attrs.field(
        default=None, validator=validators.optional(validators.in_(["1K", "2K", "4K"]))
    )

    @classmethod
    def from_json(cls, content: bytes) -> "ImageRequest":
        body = json.loads(content)
        if not isinstance(body, dict):
            raise TypeError("the body must be an object")
        known = {field.name for field in attrs.fields(cls)}
        request = cls(**{name: value for name, value in body.items() if name in known})
        if "resolution" in body and request.resolution is None:
            raise ValueError("resolution must not be null")
        return request

    def __attrs_post_init__(self) -> None:
        if self.action == "edit" and not self.image_urls:
            raise ValueError("an edit needs image_urls")
        if self.resolution is not None and self.model == "nano-banana-fast":
            raise ValueError("nano-banana-fast takes no resolution")
        if self.aspect_ratio in WIDE and self.model != "nano-banana-2":
            raise ValueError("aspect_ratio needs nano-banana-2")


@attrs.frozen
class Task:
    key: str
    request: ImageRequest
    submitted: float = attrs.field(factory=time.monotonic)

    @property
    def status(self) -> str:
        age = time.monotonic() - self.submitted
        return "pending" if age < 0.005 else "processing" if age < 0.02 else "completed"


TASKS: dict[str, Task] = {}


class ApiHandler(tornado.web.RequestHandler):
    def prepare(self) -> None:
        match = re.fullmatch(r"Bearer +(\S+)", self.request.headers.get("Authorization", ""), re.I)
        if match is None or match[1] not in ("test-token", "other-token"):
            raise tornado.web.HTTPError(401)
        self.key = match[1]

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"errorMessage": self._reason})


class GenerateHandler(ApiHandler):
    def post(self) -> None:
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise tornado.web.HTTPError(415)
        try:
            request = ImageRequest.from_json(self.request.body)
        except (TypeError, ValueError, RecursionError):
            raise tornado.web.HTTPError(400) from None
        task_id = str(uuid.uuid4())
        TASKS[task_id] = Task(self.key, request)
        self.set_status(201)
        self.write({"taskId": task_id})


class ResultHandler(ApiHandler):
    def get(self) -> None:
        task_id = self.get_query_argument("taskId", strip=False)
        task = TASKS.get(task_id)
        if task is None or task.key != self.key:
            raise tornado.web.HTTPError(404)
        snapshot: dict[str, Any] = {"taskId": task_id, "status": task.status}
        if snapshot["status"] == "completed":
            base = f"{self.request.protocol}://{self.request.host}"
            sources = task.request.image_urls
            urls = [f"{base}/result/{task_id}/0.png"]
            snapshot["result"] = {"imageUrls": urls, "sources": sources}
        self.write(snapshot)


class PictureHandler(tornado.web.RequestHandler):
    def get(self, task_id: str) -> None:
        if task_id not in TASKS:
            raise tornado.web.HTTPError(404)
        width, height = map(int, TASKS[task_id].request.aspect_ratio.split(":"))
        content = io.BytesIO()
        Image.new("RGB", (24 * width, 24 * height), f"#{task_id[-6:]}").save(content, "png")
        self.set_header("Content-Type", "image/png")
        self.write(content.getvalue())


async def main(port: int) -> None:
    application = tornado.web.Application(
        [
            ("/gemini/image/generate", GenerateHandler),
            ("/gemini/task/result", ResultHandler),
            ("/result/([-0-9a-f]+)/0.png", PictureHandler),
        ],
        log_function=lambda handler: None,
    )
    application.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
