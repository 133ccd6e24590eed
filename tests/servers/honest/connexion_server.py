"""connexion, which validates against the vendor's own spec; the prose rules are in the handler.

Settings that the contract requires, beside connexion's defaults: none.
"""

import base64
import io
import itertools
import re
import sys
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from connexion import AsyncApp
from connexion.resolver import Resolver
from PIL import Image

USERS = {"test-token": "alice", "other-token": "bob"}
HTTP = re.compile(r"https?://([^/?#@]*@)?[^/?#@:]", re.IGNORECASE)

tasks: dict[str, dict[str, Any]] = {}
ids = itertools.count()


def check_key(token: str) -> dict[str, str] | None:
    return {"sub": USERS[token]} if token in USERS else None


def broken_rule(body: dict[str, Any]) -> str:
    model = body.get("model", "nano-banana-fast")
    urls = body.get("image_urls", [])
    if body["action"] == "edit" and not urls:
        return "image_urls is required when action is edit"
    if not all(HTTP.match(url) for url in urls):
        return "image_urls must be http or https URLs"
    if "resolution" in body and model not in ("nano-banana-pro", "nano-banana-2"):
        return "resolution is only valid with nano-banana-pro and nano-banana-2"
    if body.get("aspect_ratio") in ("1:4", "4:1", "1:8", "8:1") and model != "nano-banana-2":
        return "this aspect_ratio is only valid with nano-banana-2"
    if body.get("num_images", 1) != 1:
        return "num_images must be 1"
    return ""


def generate(body: dict[str, Any], user: str) -> tuple[dict[str, Any], int]:
    if problem := broken_rule(body):
        return {"message": problem}, 400
    task_id = str(next(ids))
    tasks[task_id] = {"user": user, "body": body, "polls": 0}
    return {"taskId": task_id}, 201


def result(taskId: str, user: str) -> tuple[dict[str, Any], int]:  # noqa: N803
    task = tasks.get(taskId)
    if task is None or task["user"] != user:
        return {"message": "task not found"}, 404
    task["polls"] += 1
    snapshot: dict[str, Any] = {
        "taskId": taskId,
        "status": "processing",
        "createdAt": "2026-01-01T00:00:00Z",
        "traceId": f"trace-{taskId}",
        "result": None,
    }
    if task["polls"] > 1:
        snapshot |= {"status": "completed", "finishedAt": "2026-01-01T00:00:09.120Z"}
        snapshot["result"] = {"imageUrls": [data_uri(int(taskId), task["body"])]}
    return snapshot, 200


def data_uri(number: int, body: dict[str, Any]) -> str:
    width, height = map(int, body.get("aspect_ratio", "1:1").split(":"))
    color = (number % 251, number // 251 % 251, 128)
    content = io.BytesIO()
    Image.new("RGB", (width * 32, height * 32), color).save(content, "png")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def vendor_spec() -> dict[str, Any]:
    path = Path(__file__).resolve().parents[3] / "openapi.yaml"
    spec: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    spec["components"]["securitySchemes"]["bearerAuth"]["x-bearerInfoFunc"] = (
        f"{__name__}.check_key"
    )
    return spec


HANDLERS = {
    "ApiPublicController_nanoImage": generate,
    "ApiPublicController_taskResult": result,
}

app = AsyncApp(__name__)
app.add_api(vendor_spec(), resolver=Resolver(HANDLERS.__getitem__))

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
