"""The API once more, from the standard library and the wrapper's rules: no kin of the mock."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from mountsea_banana import check_request

KEYS = ("test-token", "other-token")
PICTURE = b"\x89PNG\r\n\x1a\n"


class Handler(BaseHTTPRequestHandler):
    """Keeps the contract with 401 and 403, 422, and tasks that are done at the third look."""

    tasks: dict[str, str]
    looks: dict[str, int]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def answer(self, status: int, body: Mapping[str, Any] | bytes = b"") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "image/png" if isinstance(body, bytes) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def account(self) -> str:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        return key if scheme == "Bearer" and key in KEYS else ""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path != "/gemini/image/generate":
            self.answer(404)
        elif not self.account():
            self.answer(401)
        elif not self.headers.get("Content-Type", "").startswith("application/json"):
            self.answer(415)
        elif not self.is_legal(content):
            self.answer(422)
        else:
            task = str(uuid.uuid4())
            self.tasks[task] = self.account()
            self.answer(201, {"taskId": task})

    def is_legal(self, content: bytes) -> bool:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return False
        return isinstance(body, dict) and not check_request(body)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        task = parse_qs(address.query, errors="replace").get("taskId", [""])[0]
        if address.path == "/picture":
            self.answer(200, PICTURE)
        elif address.path != "/gemini/task/result":
            self.answer(404)
        elif not self.account():
            self.answer(403)
        elif self.tasks.get(task) != self.account():
            self.answer(400)
        else:
            self.looks[task] = self.looks.get(task, 0) + 1
            answer: dict[str, Any] = {"taskId": task, "status": "processing"}
            if self.looks[task] > 2:
                url = f"http://{self.headers['Host']}/picture"
                answer |= {"status": "completed", "result": {"images": [{"url": url}]}}
            self.answer(200, answer)


class PlainServer:
    """Serves while its `with` block runs: one connection at a time, or many."""

    def __init__(self, *, protocol: str, many: bool) -> None:
        state = {"protocol_version": protocol, "tasks": {}, "looks": {}}
        kind = ThreadingHTTPServer if many else HTTPServer
        self._server = kind(("127.0.0.1", 0), type("Mine", (Handler,), state))
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
