"""Falcon with checks written by hand, on gunicorn with threads.

Settings that the contract requires, beside Falcon's defaults: none.
"""

import io
import itertools
import random
import sys
import threading
from typing import Any

import falcon
from gunicorn.app.base import BaseApplication
from PIL import Image

KEYS = {"test-token": 1, "other-token": 2}
ENUMS: dict[str, tuple[str, ...]] = {
    "action": ("edit", "generate"),
    "model": ("nano-banana-fast", "nano-banana-pro", "nano-banana-2"),
    "resolution": ("1K", "2K", "4K"),
    "aspect_ratio": (
        "21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16",
        "1:4", "4:1", "1:8", "8:1",
    ),
}  # fmt: skip
ONLY_NANO_BANANA_2 = frozenset({"1:4", "4:1", "1:8", "8:1"})


class Tasks:
    def __init__(self) -> None:
        self._tasks: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, account: int, ratio: str) -> str:
        with self._lock:
            task_id = f"task/{next(self._numbers)}"
            color = random.randbytes(3)
            self._tasks[task_id] = {"account": account, "ratio": ratio, "color": color, "left": 2}
            return task_id

    def find(self, task_id: str) -> dict[str, Any]:
        if task_id not in self._tasks:
            raise falcon.HTTPNotFound(description="unknown task")
        return self._tasks[task_id]


def check(condition: bool, name: str, message: str) -> None:
    if not condition:
        raise falcon.HTTPUnprocessableEntity(title=name, description=message)


def validate(body: Any) -> None:
    check(isinstance(body, dict), "body", "must be an object")
    for name in ("prompt", "action"):
        check(name in body, name, "is required")
    check(isinstance(body["prompt"], str), "prompt", "must be a string")
    for name, values in ENUMS.items():
        if name in body:
            check(body[name] in values, name, f"must be one of {values}")
    if "num_images" in body:
        number = body["num_images"]
        check(type(number) in (int, float) and number == 1, "num_images", "must be 1")
    urls = body.get("image_urls", [])
    check(isinstance(urls, list), "image_urls", "must be a list")
    for url in urls:
        check(isinstance(url, str), "image_urls", "must be strings")
        scheme, separator, rest = url.partition("://")
        host = rest.replace("?", "/").replace("#", "/").split("/")[0].rpartition("@")[2]
        check(scheme.lower() in ("http", "https") and bool(separator), "image_urls", "not http")
        check(host != "" and not host.startswith(":"), "image_urls", "has no host")
    check(body["action"] == "generate" or len(urls) > 0, "image_urls", "required for an edit")
    model = body.get("model", "nano-banana-fast")
    if "resolution" in body:
        check(model != "nano-banana-fast", "resolution", "nano-banana-fast has no resolution")
    if body.get("aspect_ratio") in ONLY_NANO_BANANA_2:
        check(model == "nano-banana-2", "aspect_ratio", "needs nano-banana-2")


class Authentication:
    def process_resource(self, req: falcon.Request, resp: Any, resource: Any, params: Any) -> None:
        if isinstance(resource, Pictures):
            return
        scheme, _, key = (req.auth or "").partition(" ")
        if scheme.lower() != "bearer" or key not in KEYS:
            raise falcon.HTTPUnauthorized(challenges=["Bearer"])
        req.context.account = KEYS[key]


class Generate:
    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = req.get_media()
        validate(body)
        resp.status = 201
        task_id = self._tasks.add(req.context.account, body.get("aspect_ratio", "1:1"))
        resp.media = {"taskId": task_id}


class Results:
    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        task_id = req.get_param("taskId", required=True)
        task = self._tasks.find(task_id)
        if task["account"] != req.context.account:
            raise falcon.HTTPForbidden
        resp.media = {"taskId": task_id, "status": "assigned", "errorMessage": "", "result": {}}
        task["left"] -= 1
        if task["left"] < 0:
            name = task_id.replace("/", "-")
            url = f"{req.prefix}/pictures/{name}"
            resp.media |= {"status": "completed", "result": {"imageUrls": [url]}}


class Pictures:
    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        task = self._tasks.find(name.replace("-", "/"))
        width, height = (50 * int(side) for side in task["ratio"].split(":"))
        content = io.BytesIO()
        Image.new("RGB", (width, height), tuple(task["color"])).save(content, "webp", lossless=True)
        resp.content_type = "image/webp"
        resp.data = content.getvalue()


def application() -> falcon.App[falcon.Request, falcon.Response]:
    tasks = Tasks()
    app = falcon.App(middleware=[Authentication()])
    app.add_route("/gemini/image/generate", Generate(tasks))
    app.add_route("/gemini/task/result", Results(tasks))
    app.add_route("/pictures/{name}", Pictures(tasks))
    return app


class Server(BaseApplication):
    def load_config(self) -> None:
        self.cfg.set("bind", f"127.0.0.1:{sys.argv[1]}")
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", 16)
        self.cfg.set("loglevel", "critical")

    def load(self) -> Any:
        return application()


if __name__ == "__main__":
    Server().run()
