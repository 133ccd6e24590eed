"""Flask with pydantic, on Werkzeug's own server with threads.

Settings that the contract requires, beside the defaults:
- `StrictStr` and a validator for `num_images`: pydantic reads `true` and "1" as numbers.
- `model_fields_set` tells an absent field from one that is null.
"""

import io
import logging
import re
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

from flask import Flask, Response, abort, g, jsonify, request, send_file, url_for
from PIL import Image
from pydantic import BaseModel, StrictStr, ValidationError, field_validator, model_validator

KEYS = frozenset({"test-token", "other-token"})
URL = re.compile(r"^https?://([^/?#@]*@)?[^/?#@:]", re.I)


class Generate(BaseModel):
    prompt: StrictStr
    action: Literal["edit", "generate"]
    num_images: Any = 1
    image_urls: list[StrictStr] | None = None
    aspect_ratio: str | None = None
    model: Literal["nano-banana-fast", "nano-banana-pro", "nano-banana-2"] = "nano-banana-fast"
    resolution: Literal["1K", "2K", "4K"] | None = None

    @field_validator("num_images")
    @classmethod
    def one(cls, value: Any) -> Any:
        if isinstance(value, bool) or value != 1:
            raise ValueError("must be 1")
        return value

    @field_validator("image_urls")
    @classmethod
    def http(cls, urls: list[str] | None) -> list[str] | None:
        for url in urls or ():
            if not URL.search(url):
                raise ValueError(f"{url} is not an http(s) URL")
        return urls

    @field_validator("aspect_ratio")
    @classmethod
    def known(cls, ratio: str | None) -> str | None:
        if ratio is not None and ratio not in NARROW | WIDE:
            raise ValueError("unknown aspect ratio")
        return ratio

    @model_validator(mode="after")
    def together(self) -> "Generate":
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise ValueError(f"{name} must not be null")
        if self.action == "edit" and not self.image_urls:
            raise ValueError("edit needs image_urls")
        if self.resolution and self.model == "nano-banana-fast":
            raise ValueError("resolution needs another model")
        if self.aspect_ratio in WIDE and self.model != "nano-banana-2":
            raise ValueError("aspect_ratio needs nano-banana-2")
        return self


NARROW = {"21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16"}
WIDE = {"1:4", "4:1", "1:8", "8:1"}


@dataclass
class Task:
    key: str
    ratio: str
    color: str
    polls: int = 0


app = Flask(__name__)
tasks: dict[str, Task] = {}
lock = threading.Lock()


def authorized(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        authorization = request.authorization
        if authorization is None or authorization.type != "bearer":
            abort(401)
        if authorization.token not in KEYS:
            abort(403)
        g.key = authorization.token
        return view(*args, **kwargs)

    return wrapper


@app.post("/gemini/image/generate")
@authorized
def generate() -> tuple[Response, int]:
    try:
        body = Generate.model_validate(request.get_json())
    except ValidationError as error:
        return jsonify(message=error.errors(include_url=False, include_context=False)), 400
    task_id = secrets.token_urlsafe(12)
    with lock:
        tasks[task_id] = Task(g.key, body.aspect_ratio or "1:1", f"#{secrets.token_hex(3)}")
    return jsonify(taskId=task_id), 201


@app.get("/gemini/task/result")
@authorized
def result() -> Response:
    task_id = request.args.get("taskId", "")
    with lock:
        task = tasks.get(task_id)
        if task is None or task.key != g.key:
            abort(404)
        task.polls += 1
        polls = task.polls
    if polls < 3:
        return jsonify(taskId=task_id, status=("pending", "processing")[polls - 1], result={})
    image_url = url_for("image", task_id=task_id, _external=True)
    return jsonify(taskId=task_id, status="completed", result={"imageUrls": [image_url], "seed": 7})


@app.get("/i/<task_id>")
def image(task_id: str) -> Response:
    task = tasks.get(task_id) or abort(404)
    width, height = (64 * int(side) for side in task.ratio.split(":"))
    content = io.BytesIO()
    Image.new("RGB", (width, height), task.color).save(content, "png")
    content.seek(0)
    return send_file(content, mimetype="image/png")


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app.logger.setLevel(logging.CRITICAL)
    app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
