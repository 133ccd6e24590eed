"""Servers that violate the contract in one way each, and unusual servers that conform to it."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from mountsea_banana.contract import Contract, Operation, Problem
from mountsea_banana.mock import DEFAULT_KEYS
from mountsea_banana.mock._api import MockAPI, Refusal
from mountsea_banana.mock._app import build_app
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Body = Mapping[str, Any]
API = type[MockAPI]
Wrap = Callable[[ASGIApp], ASGIApp]


def forgives(*rules: str, when: Callable[[Body], bool] = lambda body: True) -> API:
    """Return an API that ignores violations of these rules or keywords if `when` holds."""

    class Forgiving(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            found = super().problems(operation, document)
            if not isinstance(document, dict) or not when(document):
                return found
            places = (re.sub(r"\.\d+", "[]", each.field) for each in found)
            named = zip(found, places, strict=True)
            return [each for each, at in named if not {each.rule, f"{at}:{each.rule}"} & {*rules}]

    return Forgiving


def changes(change: Callable[[dict[str, Any]], Any]) -> API:
    """Return an API that changes a body before validating it."""

    class Changing(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            if isinstance(document, dict):
                changed = dict(document)
                change(changed)
                document = changed
            return super().problems(operation, document)

    return Changing


def rejects(when: Callable[[dict[str, Any]], Any]) -> API:
    """Return an API that also rejects valid bodies if `when` holds."""

    class Strict(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            found = super().problems(operation, document)
            return found or ([Problem("strict", "", "no")] if when(document) else [])

    return Strict


def crashes(when: Callable[[dict[str, Any]], Any], status: int = 500) -> API:
    """Return an API that responds with a status if `when` holds for the body."""

    class Crashing(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            if isinstance(document, dict) and when(document):
                raise Refusal(status, "oops")
            return super().problems(operation, document)

    return Crashing


def responds(submit: Any = None, poll: Any = None, status: int | None = None) -> API:
    """Return an API that changes its successful responses.

    `submit` and `poll` are fields to add, or functions of the JSON.
    """

    class Responding(MockAPI):
        def respond(
            self, operation: Operation, request: Request, account: str, body: Any
        ) -> Response:
            response = super().respond(operation, request, account, body)
            value = json.loads(bytes(response.body))
            change = submit if operation.is_submission else poll
            if change:
                value = change(value) if callable(change) else {**value, **change}
            code = status if status and operation.is_submission else response.status_code
            return JSONResponse(value, code)

    return Responding


def admits(when: Callable[[Request], bool], only: str = "") -> API:
    """Return an API that also accepts requests without a valid key if `when` holds."""

    class Admitting(MockAPI):
        def authenticate(self, operation: Operation, request: Request) -> str:
            try:
                return super().authenticate(operation, request)
            except Refusal:
                if when(request) and only in ("", operation.method):
                    return DEFAULT_KEYS[0]
                raise

    return Admitting


def authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


def polls(change: Callable[[dict[str, Any], int], Any]) -> API:
    """Return an API that changes the responses to polls.

    `change` takes the JSON and the number of the poll, and returns JSON or a response.
    """
    seen: Counter[str] = Counter()

    class Polling(MockAPI):
        def poll(self, operation: Operation, request: Request, account: str) -> Response:
            response = super().poll(operation, request, account)
            value = json.loads(bytes(response.body))
            seen[value["taskId"]] += 1
            changed = change(value, seen[value["taskId"]])
            return changed if isinstance(changed, Response) else JSONResponse(changed or value)

    return Polling


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name not in names}


class EveryNth:
    """Passes every nth request to another app."""

    def __init__(self, app: ASGIApp, other: ASGIApp, every: int = 100) -> None:
        self._app, self._other, self._every = app, other, every
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_nth = next(self._count) % self._every == 0
        await (self._other if is_nth else self._app)(scope, receive, send)


class On:
    """Passes requests to another app if `when` holds."""

    def __init__(self, app: ASGIApp, when: Callable[[Request], bool], other: ASGIApp) -> None:
        self._app, self._when, self._other = app, when, other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = self._other if self._when(Request(scope)) else self._app
        await chosen(scope, receive, send)


class AnyTask(MockAPI):
    """Finds a task if the polled id only begins with its id."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task_id = request.query_params.get("taskId", "")
        found = next((each.id for each in self.tasks.all() if task_id.startswith(each.id)), task_id)
        request.scope["query_string"] = urlencode({"taskId": found}).encode()
        return super().poll(operation, Request(request.scope), account)


class Shared(MockAPI):
    """Shows every task to every account."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task = self.tasks.find(request.query_params.get("taskId", ""))
        return super().poll(operation, request, task.account if task else account)


class Forgetful(MockAPI):
    """Loses every fifth task."""

    def __init__(self, contract: Contract, keys: Sequence[str]) -> None:
        super().__init__(contract, keys)
        self._count = itertools.count(1)

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        response = super().respond(operation, request, account, body)
        if operation.is_submission and next(self._count) % 5 == 0:
            self.tasks._tasks.popitem()
        return response


class Reusing(MockAPI):
    """Returns the id of an earlier task for a body that it has seen before."""

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        if operation.is_submission:
            for task in self.tasks.all():
                if task.request == body:
                    return JSONResponse({"taskId": task.id}, 201)
        return super().respond(operation, request, account, body)


class Inventing(MockAPI):
    """Responds to polls of tasks that do not exist."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task_id = request.query_params.get("taskId", "")
        if self.tasks.find(task_id) is None:
            return JSONResponse({"taskId": task_id, "status": "pending"})
        return super().poll(operation, request, account)


class Lax(MockAPI):
    """Does not require the query parameter."""

    def check_parameters(self, operation: Operation, request: Request) -> None:
        if not request.query_params.get("taskId") and operation.is_poll:
            raise Refusal(200, "nothing to see")


class AnyType(MockAPI):
    """Reads every body as JSON and ignores its content type."""

    async def read_body(self, operation: Operation, request: Request) -> Any:
        headers = [each for each in request.scope["headers"] if each[0] != b"content-type"]
        request.scope["headers"] = [*headers, (b"content-type", b"application/json")]
        return await super().read_body(operation, Request(request.scope, request.receive))


class Picky(MockAPI):
    """Rejects a content type with a charset."""

    async def read_body(self, operation: Operation, request: Request) -> Any:
        if operation.request and "charset" in request.headers.get("content-type", ""):
            raise Refusal(415, "no charset, please")
        return await super().read_body(operation, request)


class Hasty(MockAPI):
    """Reads the first JSON value of a body and ignores what follows."""

    async def read_body(self, operation: Operation, request: Request) -> Any:
        try:
            value, _ = json.JSONDecoder().raw_decode((await request.body()).decode().strip())
        except ValueError:
            return await super().read_body(operation, request)
        if self.problems(operation, value):
            return await super().read_body(operation, request)
        return value


class AsText(MockAPI):
    """Declares its responses as text."""

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        response = super().respond(operation, request, account, body)
        return PlainTextResponse(bytes(response.body), response.status_code)


class InvalidJSON(MockAPI):
    """Drops the last byte of its responses."""

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        response = super().respond(operation, request, account, body)
        return Response(
            bytes(response.body)[:-1], response.status_code, media_type="application/json"
        )


class TaskOfPrefix(MockAPI):
    """Finds a task whose id begins with the polled one."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task_id = request.query_params.get("taskId", "")
        ids = [each.id for each in self.tasks.all() if len(task_id) > 8]
        found = next((each for each in ids if each.startswith(task_id)), task_id)
        request.scope["query_string"] = urlencode({"taskId": found}).encode()
        return super().poll(operation, Request(request.scope), account)


class MissingImages(MockAPI):
    """Responds with 404 to requests for images."""

    async def image(self, request: Request) -> Response:
        return PlainTextResponse("gone", 404)


class ImagesOnce(MockAPI):
    """Serves each image once."""

    def __init__(self, contract: Contract, keys: Sequence[str]) -> None:
        super().__init__(contract, keys)
        self._served: set[str] = set()

    async def image(self, request: Request) -> Response:
        if request.url.path in self._served:
            return PlainTextResponse("gone", 404)
        self._served.add(request.url.path)
        return await super().image(request)


class ImagesAsJSON(MockAPI):
    """Serves images as JSON, with the media type of an image."""

    async def image(self, request: Request) -> Response:
        content = json.dumps([*bytes((await super().image(request)).body)])
        return Response(content, media_type="image/png")


class PagesForImages(MockAPI):
    """Serves web pages instead of images."""

    async def image(self, request: Request) -> Response:
        return PlainTextResponse("<html>", media_type="text/html")


class Echo(MockAPI):
    """Says which key it was given, in a header and in a field that should be a date."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        value = json.loads(bytes(super().poll(operation, request, account).body))
        given = f"given {authorization(request)}"
        return JSONResponse({**value, "createdAt": given}, headers={"X-Key": given})


class TruncatedImages(MockAPI):
    """Serves the first half of every image."""

    async def image(self, request: Request) -> Response:
        whole = bytes((await super().image(request)).body)
        return Response(whole[: len(whole) // 2], media_type="image/png")


class StaleImages(MockAPI):
    """Serves the image of the request before in every other response."""

    def __init__(self, contract: Contract, keys: Sequence[str]) -> None:
        super().__init__(contract, keys)
        self._served: list[Response] = []

    async def image(self, request: Request) -> Response:
        self._served.append(await super().image(request))
        return self._served[-1 - (len(self._served) % 2 == 0)]


class OneImage(MockAPI):
    """Serves the same image for every task."""

    async def image(self, request: Request) -> Response:
        return Response(png(8, 8), media_type="image/png")


class SquareImages(MockAPI):
    """Serves square images, each of another colour."""

    def __init__(self, contract: Contract, keys: Sequence[str]) -> None:
        super().__init__(contract, keys)
        self._colors = itertools.count()

    async def image(self, request: Request) -> Response:
        return Response(png(8, 8, next(self._colors)), media_type="image/png")


class UnknownFormat(MockAPI):
    """Serves images in a format of the future."""

    async def image(self, request: Request) -> Response:
        return Response(request.url.path.encode(), media_type="image/future")


def png(width: int, height: int, color: int = 0) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (color % 256, color // 256, 0)).save(content, "png")
    return content.getvalue()


class ErrorsAs200:
    """Changes the status of every rejection to 200."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_changed(message: Any) -> None:
            is_rejection = 400 <= message.get("status", 0) < 500
            await send({**message, "status": 200} if is_rejection else message)

        await self._app(scope, receive, send_changed)


class Confused:
    """Responds with 400 to what follows a request without a key on the same connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._confused: set[Any] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["client"] in self._confused:
            self._confused.discard(scope["client"])
            await PlainTextResponse("what?", 418)(scope, receive, send)
            return
        if scope["method"] == "POST" and not authorization(Request(scope)):
            self._confused.add(scope["client"])
        await self._app(scope, receive, send)


class OddIds:
    """Adds characters to every id that have a meaning in URLs."""

    SUFFIX = "+/?&=#% é"

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        task_id = names.get("taskId", "")
        is_odd = task_id.endswith(self.SUFFIX)
        if scope["path"].endswith("result"):
            known = task_id.removesuffix(self.SUFFIX) if is_odd else "unknown"
            names |= {"taskId": known} if task_id else {}
            scope["query_string"] = urlencode(names).encode()

        async def send_changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [each for each in message["headers"] if each[0] != b"content-length"]
                message = {**message, "headers": headers}
            elif b'"taskId":"' in message["body"]:
                value = json.loads(message["body"])
                value["taskId"] += self.SUFFIX
                message = {**message, "body": json.dumps(value).encode()}
            await send(message)

        await self._app(scope, receive, send_changed)


def statuses(change: Mapping[int, int]) -> Wrap:
    """Replace statuses of responses with others."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_changed(message: Any) -> None:
                status = change.get(message.get("status", 0))
                await send({**message, "status": status} if status else message)

            await app(scope, receive, send_changed)

        return serve

    return wrap


class Uncompressed:
    """Declares a response as compressed if the client allows that, but does not compress it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_allowed = "gzip" in Request(scope).headers.get("accept-encoding", "")
        is_allowed &= not scope["path"].startswith("/images")

        async def send_changed(message: Any) -> None:
            if message["type"] == "http.response.start" and is_allowed:
                headers = [*message["headers"], (b"content-encoding", b"gzip")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_changed)


def completed(change: Callable[[dict[str, Any]], Any]) -> API:
    """Return an API that changes the responses to polls of completed tasks."""
    return polls(lambda value, _: change(value) if value["status"] == "completed" else value)


PRO = "nano-banana-pro"
DEFECTS: dict[str, API | Wrap] = {
    # Rules that are not enforced, entirely or in some cases.
    "accepts an edit without images": forgives("edit-needs-image-urls"),
    "accepts an edit with an empty list": forgives(
        "edit-needs-image-urls", when=lambda b: b.get("image_urls") == []
    ),
    "accepts an edit without images with model 2": forgives(
        "edit-needs-image-urls", when=lambda b: b.get("model") == "nano-banana-2"
    ),
    "accepts resolution with every model": forgives("resolution-needs-pro-or-2"),
    "accepts resolution with the default model": forgives(
        "resolution-needs-pro-or-2", when=lambda b: "model" not in b
    ),
    "accepts 4K with fast": forgives(
        "resolution-needs-pro-or-2", when=lambda b: b.get("resolution") == "4K" and "model" in b
    ),
    "accepts wide ratios with every model": forgives("wide-ratio-needs-2"),
    "accepts wide ratios with pro": forgives(
        "wide-ratio-needs-2", when=lambda b: b.get("model") == "nano-banana-pro"
    ),
    "accepts 8:1 with pro in 2K edits": forgives(
        "wide-ratio-needs-2",
        when=lambda b: (
            (b.get("model"), b.get("aspect_ratio"), b.get("action"), b.get("resolution"))
            == ("nano-banana-pro", "8:1", "edit", "2K")
        ),
    ),
    "accepts two images": forgives("one-image-only"),
    "accepts num_images of 0": forgives("one-image-only", when=lambda b: b.get("num_images") == 0),
    "accepts any URL scheme": forgives("image-url-is-http", "image_urls[]:format"),
    "accepts ftp URLs": forgives(
        "image-url-is-http", when=lambda b: "ftp://" in str(b.get("image_urls"))
    ),
    "checks only the first URL": changes(
        lambda b: (
            b.update(image_urls=b["image_urls"][:1])
            if isinstance(b.get("image_urls"), list)
            else None
        )
    ),
    "checks URLs only in edits": changes(
        lambda b: b.pop("image_urls", None) if b.get("action") == "generate" else None
    ),
    # Violations of the schema that are accepted.
    "accepts a missing prompt": changes(lambda b: b.setdefault("prompt", "x")),
    "accepts a null prompt": changes(
        lambda b: b.update(prompt="x") if b.get("prompt", "") is None else None
    ),
    "accepts a prompt of any type": forgives("prompt:type"),
    "defaults action to generate": changes(lambda b: b.setdefault("action", "generate")),
    "accepts any action": forgives("action:enum"),
    "accepts action in any case": changes(
        lambda b: b.update(action=b["action"].lower()) if isinstance(b.get("action"), str) else None
    ),
    "accepts any model": forgives("model:enum"),
    "accepts model with surrounding whitespace": changes(
        lambda b: b.update(model=b["model"].strip()) if isinstance(b.get("model"), str) else None
    ),
    "accepts resolution in lower case": changes(
        lambda b: (
            b.update(resolution=b["resolution"].upper())
            if isinstance(b.get("resolution"), str)
            else None
        )
    ),
    "accepts any ratio": forgives("aspect_ratio:enum"),
    "treats null as absent": changes(
        lambda b: [b.pop(name) for name in list(b) if b[name] is None and name != "prompt"]
    ),
    "treats true as one image": changes(
        lambda b: b.update(num_images=1) if b.get("num_images") is True else None
    ),
    "treats the string 1 as one image": changes(
        lambda b: b.update(num_images=1) if b.get("num_images") == "1" else None
    ),
    "accepts a URL instead of a list": changes(
        lambda b: (
            b.update(image_urls=[b["image_urls"]]) if isinstance(b.get("image_urls"), str) else None
        )
    ),
    "accepts text after the JSON": Hasty,
    # Valid requests that are rejected.
    "rejects pro": rejects(lambda b: b.get("model") == "nano-banana-pro"),
    "rejects the default model by name": rejects(lambda b: b.get("model") == "nano-banana-fast"),
    "rejects 4K with model 2": rejects(
        lambda b: (b.get("model"), b.get("resolution")) == ("nano-banana-2", "4K")
    ),
    "rejects 5:4": rejects(lambda b: b.get("aspect_ratio") == "5:4"),
    "rejects 1:8 in edits": rejects(
        lambda b: (b.get("aspect_ratio"), b["action"]) == ("1:8", "edit")
    ),
    "rejects num_images": rejects(lambda b: "num_images" in b),
    "rejects num_images of 1.0": rejects(lambda b: isinstance(b.get("num_images"), float)),
    "rejects two URLs": rejects(lambda b: len(b.get("image_urls", [])) > 1),
    "rejects http URLs": rejects(lambda b: "http:" in str(b.get("image_urls"))),
    "rejects image URLs with generate": rejects(
        lambda b: b.get("image_urls") and b["action"] == "generate"
    ),
    "rejects an empty list with generate": rejects(lambda b: b.get("image_urls") == []),
    "rejects unknown properties": rejects(lambda b: "spec_lacks_it" in b),
    "rejects an empty prompt": rejects(lambda b: b["prompt"] == ""),
    "rejects prompts of more than 1,000 characters": rejects(lambda b: len(b["prompt"]) > 1000),
    "rejects prompts that are not Latin": rejects(
        lambda b: any(ord(c) > 0x24F for c in b["prompt"][:20])
    ),
    "rejects another property order": rejects(lambda b: next(iter(b)) not in ("prompt", "")),
    "rejects a charset": Picky,
    # Failures.
    "fails on NUL": crashes(lambda b: "\x00" in str(b.get("prompt"))),
    "fails on emoji": crashes(lambda b: "🐈" in str(b.get("prompt"))),
    "fails on long prompts": crashes(lambda b: len(str(b.get("prompt"))) > 30_000),
    "fails on a prompt that is not a string": crashes(lambda b: isinstance(b.get("prompt"), list)),
    "fails on edits with 2 images": crashes(
        lambda b: (b.get("num_images"), b.get("action")) == (2, "edit")
    ),
    "fails on a quote in the query": lambda app: On(
        app, lambda r: "%27" in r.url.query or "'" in r.url.query, PlainTextResponse("oops", 500)
    ),
    "fails on an unknown task": lambda app: On(
        app, lambda r: "unknown" in r.url.query, PlainTextResponse("oops", 500)
    ),
    "fails on one request in a hundred": lambda app: On(
        EveryNth(app, PlainTextResponse("oops", 502)), lambda r: "/images/" in r.url.path, app
    ),
    "fails on one request in three hundred": lambda app: EveryNth(
        app, PlainTextResponse("oops", 500), 300
    ),
    # Keys.
    "needs no key": admits(lambda r: True),
    "needs no key to poll": admits(lambda r: True, only="GET"),
    "needs no key to submit": admits(lambda r: True, only="POST"),
    "accepts any key": admits(
        lambda r: authorization(r).startswith("Bearer ") and len(authorization(r)) > 7
    ),
    "accepts an empty key": admits(lambda r: authorization(r).strip() == "Bearer"),
    "accepts any authorization scheme": admits(
        lambda r: authorization(r).endswith(f" {DEFAULT_KEYS[0]}")
    ),
    "accepts a key without a scheme": admits(lambda r: authorization(r) == DEFAULT_KEYS[0]),
    "accepts a prefix of the key": admits(
        lambda r: DEFAULT_KEYS[0].startswith(authorization(r)[7:] or "?")
    ),
    "accepts a key with extra characters": admits(
        lambda r: authorization(r).startswith(f"Bearer {DEFAULT_KEYS[0]}")
    ),
    "accepts the key in any case": admits(
        lambda r: authorization(r).lower() == f"bearer {DEFAULT_KEYS[0]}"
    ),
    "accepts the key in the query": admits(lambda r: "token" in r.query_params),
    "accepts the key in X-API-Key": admits(lambda r: "x-api-key" in r.headers),
    "accepts the key in a cookie": admits(lambda r: "token" in r.cookies),
    "rejects a valid key with pro": crashes(lambda b: b.get("model") == PRO, 401),
    "intermittently rejects a valid key when polled": lambda app: On(
        EveryNth(app, PlainTextResponse("", 401), 50),
        lambda r: r.method != "GET" or "gemini" not in r.url.path,
        app,
    ),
    "shows every task to every account": Shared,
    # Responses.
    "responds with 200 to a submission": responds(status=200),
    "responds with 202 to a submission": responds(status=202),
    "returns a number as taskId": responds(submit={"taskId": 5}),
    "returns an empty taskId": responds(submit={"taskId": ""}),
    "echoes the key": Echo,
    "returns no taskId": responds(submit=lambda v: {"id": v["taskId"]}),
    "wraps the response to a submission": responds(submit=lambda v: {"data": v}),
    "wraps the response to a poll": responds(poll=lambda v: {"data": v}),
    "returns another taskId when polled": responds(poll={"taskId": "x"}),
    "returns no status": responds(poll=lambda v: without(v, "status")),
    "returns a status that is not in the enum": polls(
        lambda v, n: {**v, "status": "running"} if n == 2 else v
    ),
    "returns a malformed date": responds(poll={"createdAt": "yesterday"}),
    "returns a date without a time zone": completed(
        lambda v: {**v, "finishedAt": "2026-01-01T00:00:00"}
    ),
    "returns a number as a date": responds(poll={"createdAt": 1_700_000_000}),
    "returns a null date": responds(poll=lambda v: {"finishedAt": None, **v}),
    "returns a list as the result": completed(lambda v: {**v, "result": [v["result"]]}),
    "declares responses as text": AsText,
    "returns invalid JSON": InvalidJSON,
    "rejects half of all requests": rejects(lambda b: len(str(b)) % 2),
    "reuses task ids": Reusing,
    # The lifecycle of tasks.
    "loses every fifth task": Forgetful,
    "finds a new task only at the second poll": polls(
        lambda v, n: JSONResponse({"message": "not yet"}, 404) if n == 1 else v
    ),
    "changes a final status": polls(lambda v, n: {**v, "status": "failed"} if n == 5 else v),
    "completes without an image": completed(lambda v: {**v, "result": {"imageUrls": []}}),
    "completes without a result": completed(lambda v: without(v, "result")),
    "completes with a null result": completed(lambda v: {**v, "result": None}),
    "responds with 404 to images": MissingImages,
    "serves truncated images": TruncatedImages,
    "serves the previous image to every other request": StaleImages,
    "returns data that is not base64 as the image": completed(
        lambda v: {**v, "result": {"imageUrls": ["data:image/png;base64,???"]}}
    ),
    "returns an empty image": completed(
        lambda v: {**v, "result": {"imageUrls": ["data:image/png,"]}}
    ),
    "returns the image of the request": completed(
        lambda v: {**v, "result": {"imageUrls": ["https://example.com/image1.jpg"]}}
    ),
    "submits by PUT": lambda app: On(
        app,
        lambda r: r.method == "PUT" and r.url.path.endswith("generate"),
        JSONResponse({"taskId": "from-put"}, 201),
    ),
    "responds with 200 and an error to invalid requests": lambda app: ErrorsAs200(app),
    "mistakes a request for the sequel of the one before": lambda app: Confused(app),
    "returns image URLs on a closed port": completed(
        lambda v: {**v, "result": {"imageUrls": ["http://127.0.0.1:1/a.png"]}}
    ),
    "serves a web page instead of an image": PagesForImages,
    "reports unknown tasks as pending": Inventing,
    "responds with 200 to a missing taskId": Lax,
    "finds a task by a longer id": AnyTask,
    "finds a task by a shorter id": TaskOfPrefix,
    "does not decode the id": lambda app: On(
        app,
        lambda r: r.url.path.endswith("result") and r.url.query.count("%") > 8,
        JSONResponse({"message": "not found"}, 404),
    ),
    "accepts a name that every object has as the key": admits(
        lambda r: authorization(r).endswith(" constructor")
    ),
    "serves each image once": ImagesOnce,
    "serves images as JSON": ImagesAsJSON,
    "declares responses as compressed": Uncompressed,
    "responds with 500 instead of 4xx": statuses(dict.fromkeys(range(400, 500), 500)),
    "limits bodies to 1 kB": crashes(lambda b: len(json.dumps(b)) > 1000, 413),
    "rejects repeated images": rejects(
        lambda b: len({*b.get("image_urls", [])}) < len(b.get("image_urls", []))
    ),
    "rejects long image URLs": rejects(
        lambda b: any(len(url) > 500 for url in b.get("image_urls", []))
    ),
}


def is_strict(body: dict[str, Any]) -> bool:
    urls = body.get("image_urls", [])
    return any(
        not re.fullmatch(r"https?://[a-z0-9.:-]+(/[\w./%?=&-]*)?", each, re.A | re.I)
        for each in urls
    )


class Immediate(MockAPI):
    """Completes every task before its first poll."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task = self.tasks.find(request.query_params.get("taskId", ""))
        if task:
            task._steps = 3
        return super().poll(operation, request, account)


class Lenient(MockAPI):
    """Accepts every URL in which Python's own parser finds a host."""

    def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
        found = super().problems(operation, document)
        urls = document.get("image_urls") if isinstance(document, dict) else None
        if not isinstance(urls, list) or not all(isinstance(each, str) for each in urls):
            return found
        try:
            parts = [urlsplit(each.strip()) for each in urls]
            if not all(each.scheme in ("http", "https") and each.hostname for each in parts):
                return found
        except ValueError:
            return found
        return [each for each in found if each.rule not in ("image-url-is-http", "format")]


class TaskFirst(MockAPI):
    """Looks up the task before it checks the key."""

    def authenticate(self, operation: Operation, request: Request) -> str:
        if operation.is_poll and not self.tasks.find(request.query_params.get("taskId", "")):
            raise Refusal(404, "task not found")
        return super().authenticate(operation, request)


WARNED: dict[str, API | Wrap] = {
    "accepts any content type": AnyType,
    "fails on PUT": lambda app: On(
        app, lambda r: r.method == "PUT", PlainTextResponse("oops", 500)
    ),
    "fails on a lone surrogate": crashes(lambda b: "\ud800" in str(b.get("prompt"))),
    "responds with 404 to a missing key": lambda app: On(
        app, lambda r: not authorization(r) and "gemini" in r.url.path, PlainTextResponse("", 404)
    ),
    "serves square images for every ratio": SquareImages,
    "serves one image for all tasks": OneImage,
}
"""Servers whose responses look wrong although the contract allows them."""
INCONCLUSIVE: dict[str, API | Wrap] = {
    "fails on everything": lambda app: PlainTextResponse("oops", 500),
    "looks up the task before the key": TaskFirst,
    "slow tasks": polls(lambda v, n: {**without(v, "result"), "status": "ready"}),
}
CONFORMING: dict[str, API | Wrap] = {
    "the mock": MockAPI,
    "422, 403 and 400 for rejections": statuses({400: 422, 401: 403, 404: 400}),
    "415 and 413 as 400, 405 as 404": statuses({415: 400, 413: 400, 405: 404}),
    "501 for unknown methods": statuses({405: 501}),
    "strict URLs": rejects(lambda b: isinstance(b, dict) and is_strict(b)),
    "lenient URLs": Lenient,
    "no NUL and no surrogates": rejects(lambda b: "\x00" in b["prompt"] or "\ud800" in b["prompt"]),
    "bodies of at most 50 KB": rejects(lambda b: len(str(b)) > 50_000),
    "tasks that complete immediately": Immediate,
    "tasks that fail": polls(
        lambda v, n: (
            v
            if n == 1
            else {**without(v, "result"), "status": "failed", "errorMessage": "no", "errorCode": 7}
        )
    ),
    "tasks that go back to the queue": polls(
        lambda v, n: (
            {**v, "status": "assigned"} if n == 1 else {**v, "status": "pending"} if n == 2 else v
        )
    ),
    "ids with every kind of character": lambda app: OddIds(app),
    "images in a format that is not known": UnknownFormat,
    "images as data": completed(
        lambda v: {
            **v,
            "result": {
                "page": "https://example.com/",
                "imageUrls": [f"data:image/svg+xml,{v['taskId']}"],
            },
        }
    ),
    "another result shape and extra fields": completed(
        lambda v: {**v, "more": {"a": None}, "result": {"image_urls": v["result"]["imageUrls"]}}
    ),
}


def application(contract: Contract, name: str) -> Starlette:
    """Return the server with this name."""
    made = {**DEFECTS, **WARNED, **INCONCLUSIVE, **CONFORMING}[name]
    if isinstance(made, type) and issubclass(made, MockAPI):
        return build_app(made(contract, DEFAULT_KEYS), contract)
    app = build_app(MockAPI(contract, DEFAULT_KEYS), contract)
    app.add_middleware(Wrapped, wrap=made)  # type: ignore[arg-type]
    return app


class Wrapped:
    """Adapts a function that wraps an application to a middleware class."""

    def __init__(self, app: ASGIApp, wrap: Wrap) -> None:
        self._app = wrap(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
