"""aiohttp with a JSON Schema and jsonschema, and tasks that a queue of workers completes.

Settings that the contract requires, beside aiohttp's defaults: none.
"""

import asyncio
import hmac
import io
import json
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator
from PIL import Image

WIDE = ["1:4", "4:1", "1:8", "8:1"]
RATIOS = ["21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16", *WIDE]
SCHEMA = {
    "type": "object",
    "required": ["prompt", "action"],
    "properties": {
        "prompt": {"type": "string"},
        "action": {"enum": ["edit", "generate"]},
        "num_images": {"const": 1},
        "image_urls": {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": "^[hH][tT][tT][pP][sS]?://([^/?#@]*@)?[^/?#@:]",
            },
        },
        "aspect_ratio": {"enum": RATIOS},
        "model": {"enum": ["nano-banana-fast", "nano-banana-pro", "nano-banana-2"]},
        "resolution": {"enum": ["1K", "2K", "4K"]},
    },
    "allOf": [
        {
            "if": {"required": ["action"], "properties": {"action": {"const": "edit"}}},
            "then": {"required": ["image_urls"], "properties": {"image_urls": {"minItems": 1}}},
        },
        {
            "if": {"required": ["resolution"]},
            "then": {
                "required": ["model"],
                "properties": {"model": {"enum": ["nano-banana-pro", "nano-banana-2"]}},
            },
        },
        {
            "if": {"required": ["aspect_ratio"], "properties": {"aspect_ratio": {"enum": WIDE}}},
            "then": {"required": ["model"], "properties": {"model": {"const": "nano-banana-2"}}},
        },
    ],
}

KEYS = ("test-token", "other-token")
Tasks = dict[str, dict[str, Any]]
TASKS = web.AppKey("tasks", Tasks)
QUEUE = web.AppKey("queue", asyncio.Queue[str])
validator = Draft202012Validator(SCHEMA)
routes = web.RouteTableDef()


@web.middleware
async def authenticate(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.path.startswith("/gemini/"):
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        for key in KEYS:
            if hmac.compare_digest(given, f"Bearer {key}".encode()):
                request["key"] = key
                break
        else:
            return web.json_response({"error": "unauthorized"}, status=401)
    response: web.StreamResponse = await handler(request)
    return response


@routes.post("/gemini/image/generate")
async def generate(request: web.Request) -> web.Response:
    if request.content_type != "application/json":
        return web.json_response({"error": "send application/json"}, status=415)
    try:
        body = json.loads(await request.read())
        problem = next(validator.iter_errors(body), None)
    except (ValueError, RecursionError) as error:
        return web.json_response({"error": f"not JSON: {error}"}, status=400)
    if problem is not None:
        return web.json_response({"error": problem.message[:200]}, status=422)
    task_id = uuid.uuid4().hex
    request.app[TASKS][task_id] = {"key": request["key"], "body": body, "status": "pending"}
    request.app[QUEUE].put_nowait(task_id)
    return web.json_response({"taskId": task_id}, status=201)


@routes.get("/gemini/task/result")
async def result(request: web.Request) -> web.Response:
    task_id = request.query.get("taskId", "")
    task = request.app[TASKS].get(task_id)
    if task is None:
        return web.json_response({"error": "not found"}, status=404)
    if task["key"] != request["key"]:
        return web.json_response({"error": "not your task"}, status=403)
    snapshot = {"taskId": task_id, "status": task["status"]}
    if task["status"] == "completed":
        snapshot["result"] = {"imageUrls": [str(request.url.origin() / f"out/{task_id}.png")]}
    return web.json_response(snapshot)


@routes.get("/out/{task_id}.png")
async def picture(request: web.Request) -> web.Response:
    task_id = request.match_info["task_id"]
    if task_id not in request.app[TASKS]:
        raise web.HTTPNotFound
    ratio = request.app[TASKS][task_id]["body"].get("aspect_ratio", "1:1")
    width, height = (40 * int(side) for side in ratio.split(":"))
    content = io.BytesIO()
    Image.new("RGB", (width, height), f"#{task_id[:6]}").save(content, "png")
    return web.Response(body=content.getvalue(), content_type="image/png")


async def work(app: web.Application) -> None:
    while True:
        task = app[TASKS][await app[QUEUE].get()]
        task["status"] = "processing"
        await asyncio.sleep(0.001)
        task["status"] = "completed"


async def workers(app: web.Application) -> AsyncIterator[None]:
    running = [asyncio.create_task(work(app)) for _ in range(8)]
    yield
    for worker in running:
        worker.cancel()


def application() -> web.Application:
    app = web.Application(middlewares=[authenticate])
    app[TASKS] = {}
    app[QUEUE] = asyncio.Queue()
    app.add_routes(routes)
    app.cleanup_ctx.append(workers)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
