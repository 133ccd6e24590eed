"""`http.server` from the standard library, with checks written by hand.

Settings that the contract requires, beside the defaults:
- `protocol_version`: HTTP/1.1, to keep connections open. The body of every request is read, so that
  the next request on the connection starts where it should.
"""

import io
import json
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

KEYS = ("test-token", "other-token")
ACTIONS = ("edit", "generate")
MODELS = ("nano-banana-fast", "nano-banana-pro", "nano-banana-2")
RESOLUTIONS = ("1K", "2K", "4K")
WIDE = ("1:4", "4:1", "1:8", "8:1")
RATIOS = ("21:9", "1:1", "4:3", "3:2", "2:3", "5:4", "4:5", "3:4", "16:9", "9:16", *WIDE)
TASKS: dict[str, dict[str, Any]] = {}
DURATION = 0.02


class Rejected(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def is_image_url(url: Any) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def validate(body: Any) -> None:
    if not isinstance(body, dict):
        raise Rejected(400, "the body must be an object")
    if not isinstance(body.get("prompt"), str):
        raise Rejected(400, "prompt must be a string")
    if body.get("action") not in ACTIONS:
        raise Rejected(400, "action must be edit or generate")
    if body.get("model", MODELS[0]) not in MODELS:
        raise Rejected(400, "no such model")
    if body.get("aspect_ratio", "1:1") not in RATIOS:
        raise Rejected(400, "no such aspect_ratio")
    if body.get("resolution", "1K") not in RESOLUTIONS:
        raise Rejected(400, "no such resolution")
    number = body.get("num_images", 1)
    if isinstance(number, bool) or number != 1:
        raise Rejected(400, "num_images must be 1")
    urls = body.get("image_urls", [])
    if not isinstance(urls, list) or not all(is_image_url(url) for url in urls):
        raise Rejected(400, "image_urls must be a list of http or https URLs")
    if body["action"] == "edit" and not urls:
        raise Rejected(400, "edit needs image_urls")
    model = body.get("model", MODELS[0])
    if "resolution" in body and model == "nano-banana-fast":
        raise Rejected(400, "nano-banana-fast takes no resolution")
    if body.get("aspect_ratio") in WIDE and model != "nano-banana-2":
        raise Rejected(400, "this aspect_ratio needs nano-banana-2")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def respond(self, status: int, content: bytes, media_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def respond_json(self, status: int, body: dict[str, Any]) -> None:
        self.respond(status, json.dumps(body).encode())

    def account(self) -> str:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key not in KEYS:
            raise Rejected(401, "give a valid key")
        return key

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        content = self.read_body()
        try:
            if urlsplit(self.path).path != "/gemini/image/generate":
                raise Rejected(404, "no such path")
            key = self.account()
            if self.headers.get_content_type() != "application/json":
                raise Rejected(415, "send application/json")
            try:
                body = json.loads(content)
            except (ValueError, RecursionError):
                raise Rejected(400, "the body is not JSON") from None
            validate(body)
            task_id = uuid.uuid4().hex.upper()
            ratio = body.get("aspect_ratio", "1:1")
            TASKS[task_id] = {"key": key, "ratio": ratio, "submitted": time.monotonic()}
            self.respond_json(201, {"taskId": task_id})
        except Rejected as rejected:
            self.respond_json(rejected.status, {"error": str(rejected)})

    def do_GET(self) -> None:
        self.read_body()
        url = urlsplit(self.path)
        try:
            if url.path.startswith("/pictures/"):
                self.respond(200, self.picture(url.path.rpartition("/")[2]), "image/png")
            elif url.path == "/gemini/task/result":
                self.respond_json(200, self.snapshot(self.account(), url.query))
            else:
                raise Rejected(404, "no such path")
        except Rejected as rejected:
            self.respond_json(rejected.status, {"error": str(rejected)})

    def snapshot(self, key: str, query: str) -> dict[str, Any]:
        values = parse_qs(query).get("taskId")
        if not values:
            raise Rejected(400, "taskId is required")
        task = TASKS.get(values[0])
        if task is None or task["key"] != key:
            raise Rejected(404, "no such task")
        if time.monotonic() - task["submitted"] < DURATION:
            return {"taskId": values[0], "status": "processing"}
        picture = f"http://{self.headers['Host']}/pictures/{values[0]}"
        return {
            "taskId": values[0],
            "status": "completed",
            "result": {"images": [{"url": picture}]},
        }

    def picture(self, task_id: str) -> bytes:
        if task_id not in TASKS:
            raise Rejected(404, "no such picture")
        width, height = (30 * int(side) for side in TASKS[task_id]["ratio"].split(":"))
        content = io.BytesIO()
        Image.new("RGB", (width, height), f"#{task_id[:6]}").save(content, "png")
        return content.getvalue()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
