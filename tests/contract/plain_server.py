"""A second implementation of the API that shares no code with the mock.

It uses the standard library and the wrapper's rules.
"""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from mountsea_banana import check_request

KEYS = ("test-token", "other-token")
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)


class Handler(BaseHTTPRequestHandler):
    """Rejects requests with 401, 403 and 422, and completes a task at its third poll."""

    tasks: dict[str, str]
    polls: dict[str, int]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def respond(self, status: int, body: Mapping[str, Any] | bytes = b"") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        media_type = "image/png" if isinstance(body, bytes) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def account(self) -> str:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        return key if scheme == "Bearer" and key in KEYS else ""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path != "/gemini/image/generate":
            self.respond(404)
        elif not self.account():
            self.respond(401)
        elif not self.headers.get("Content-Type", "").startswith("application/json"):
            self.respond(415)
        elif not self.is_valid(content):
            self.respond(422)
        else:
            task = str(uuid.uuid4())
            self.tasks[task] = self.account()
            self.respond(201, {"taskId": task})

    def is_valid(self, content: bytes) -> bool:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return False
        return isinstance(body, dict) and not check_request(body)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        task = parse_qs(url.query, errors="replace").get("taskId", [""])[0]
        if url.path == "/picture":
            self.respond(200, IMAGE)
        elif url.path != "/gemini/task/result":
            self.respond(404)
        elif not self.account():
            self.respond(403)
        elif self.tasks.get(task) != self.account():
            self.respond(400)
        else:
            self.polls[task] = self.polls.get(task, 0) + 1
            snapshot: dict[str, Any] = {"taskId": task, "status": "processing"}
            if self.polls[task] > 2:
                image_url = f"http://{self.headers['Host']}/picture"
                snapshot |= {"status": "completed", "result": {"images": [{"url": image_url}]}}
            self.respond(200, snapshot)


class PlainServer:
    """Serves inside its `with` block, one connection at a time or many in parallel."""

    def __init__(
        self, *, protocol: str = "HTTP/1.1", many: bool = True, handler: type[Handler] = Handler
    ) -> None:
        state = {"protocol_version": protocol, "tasks": {}, "polls": {}}
        server_class = ThreadingHTTPServer if many else HTTPServer
        self._server = server_class(("127.0.0.1", 0), type("Mine", (handler,), state))
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
