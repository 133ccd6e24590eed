"""Servers that break the contract in one way each, and servers that keep it in other ways."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from mountsea_banana.contract import Contract, Operation, Problem
from mountsea_banana.mock import DEFAULT_KEYS
from mountsea_banana.mock._api import MockAPI, Refusal
from mountsea_banana.mock._app import build_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Body = Mapping[str, Any]
API = type[MockAPI]
Wrap = Callable[[ASGIApp], ASGIApp]


def forgives(*rules: str, when: Callable[[Body], bool] = lambda body: True) -> API:
    """Accept what breaks one of the rules or keywords, where `when` holds for the body."""

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
    """Judge another body than the one that came."""

    class Changing(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            if isinstance(document, dict):
                changed = dict(document)
                change(changed)
                document = changed
            return super().problems(operation, document)

    return Changing


def refuses(when: Callable[[dict[str, Any]], Any]) -> API:
    """Refuse legal bodies where `when` holds."""

    class Strict(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            found = super().problems(operation, document)
            return found or ([Problem("strict", "", "no")] if when(document) else [])

    return Strict


def crashes(when: Callable[[dict[str, Any]], Any], status: int = 500) -> API:
    """Fail where `when` holds for the body."""

    class Crashing(MockAPI):
        def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
            if isinstance(document, dict) and when(document):
                raise Refusal(status, "oops")
            return super().problems(operation, document)

    return Crashing


def answers(submit: Any = None, look: Any = None, status: int | None = None) -> API:
    """Change the JSON of successful answers."""

    class Answering(MockAPI):
        def respond(
            self, operation: Operation, request: Request, account: str, body: Any
        ) -> Response:
            answer = super().respond(operation, request, account, body)
            value = json.loads(bytes(answer.body))
            change = submit if operation.is_submission else look
            if change:
                value = change(value) if callable(change) else {**value, **change}
            code = status if status and operation.is_submission else answer.status_code
            return JSONResponse(value, code)

    return Answering


def admits(how: Callable[[Request], bool], only: str = "") -> API:
    """Take requests without the right key, where `how` holds."""

    class Admitting(MockAPI):
        def authenticate(self, operation: Operation, request: Request) -> str:
            try:
                return super().authenticate(operation, request)
            except Refusal:
                if how(request) and only in ("", operation.method):
                    return DEFAULT_KEYS[0]
                raise

    return Admitting


def header(request: Request) -> str:
    return request.headers.get("authorization", "")


def looks(change: Callable[[dict[str, Any], int], Any]) -> API:
    """Change what a task says, given the answer and the number of the look."""
    seen: Counter[str] = Counter()

    class Looking(MockAPI):
        def poll(self, operation: Operation, request: Request, account: str) -> Response:
            answer = super().poll(operation, request, account)
            value = json.loads(bytes(answer.body))
            seen[value["taskId"]] += 1
            changed = change(value, seen[value["taskId"]])
            return changed if isinstance(changed, Response) else JSONResponse(changed or value)

    return Looking


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name not in names}


class EveryHundredth:
    """Spoils one answer in a hundred."""

    def __init__(self, app: ASGIApp, spoil: ASGIApp, every: int = 100) -> None:
        self._app, self._spoil, self._every = app, spoil, every
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        spoilt = next(self._count) % self._every == 0
        await (self._spoil if spoilt else self._app)(scope, receive, send)


class On:
    """Answers some requests in its own way."""

    def __init__(self, app: ASGIApp, when: Callable[[Request], bool], answer: ASGIApp) -> None:
        self._app, self._when, self._answer = app, when, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = self._answer if self._when(Request(scope)) else self._app
        await chosen(scope, receive, send)


class AnyTask(MockAPI):
    """Finds tasks whose ids the one asked for merely begins with."""

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
        answer = super().respond(operation, request, account, body)
        if operation.is_submission and next(self._count) % 5 == 0:
            self.tasks._tasks.popitem()
        return answer


class Reusing(MockAPI):
    """Gives the id of the last task to a body that it has seen before."""

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        if operation.is_submission:
            for task in self.tasks.all():
                if task.request == body:
                    return JSONResponse({"taskId": task.id}, 201)
        return super().respond(operation, request, account, body)


class Inventing(MockAPI):
    """Answers for tasks that do not exist."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task_id = request.query_params.get("taskId", "")
        if self.tasks.find(task_id) is None:
            return JSONResponse({"taskId": task_id, "status": "pending"})
        return super().poll(operation, request, account)


class Lax(MockAPI):
    """Needs no parameter of the query."""

    def check_parameters(self, operation: Operation, request: Request) -> None:
        if not request.query_params.get("taskId") and operation.is_poll:
            raise Refusal(200, "nothing to see")


class AnyType(MockAPI):
    """Reads the body as JSON whatever its content type says."""

    async def read_body(self, operation: Operation, request: Request) -> Any:
        headers = [each for each in request.scope["headers"] if each[0] != b"content-type"]
        request.scope["headers"] = [*headers, (b"content-type", b"application/json")]
        return await super().read_body(operation, Request(request.scope, request.receive))


class Picky(MockAPI):
    """Knows no content type but the bare one."""

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
    """Says that its answers are text."""

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        answer = super().respond(operation, request, account, body)
        return PlainTextResponse(bytes(answer.body), answer.status_code)


class NoJSON(MockAPI):
    """Cuts its answers short."""

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        answer = super().respond(operation, request, account, body)
        return Response(bytes(answer.body)[:-1], answer.status_code, media_type="application/json")


class NoPicture(MockAPI):
    """Has lost its pictures."""

    async def image(self, request: Request) -> Response:
        return PlainTextResponse("gone", 404)


class PageForPicture(MockAPI):
    """Serves a page in place of a picture."""

    async def image(self, request: Request) -> Response:
        return PlainTextResponse("<html>", media_type="text/html")


def completed(change: Callable[[dict[str, Any]], Any]) -> API:
    """Change the answers of completed tasks."""
    return looks(lambda value, look: change(value) if value["status"] == "completed" else value)


PRO = "nano-banana-pro"
DEFECTS: dict[str, API | Wrap] = {
    # Rules that are skipped, altogether or in part.
    "edit without pictures is accepted": forgives("edit-needs-image-urls"),
    "edit with an empty list is accepted": forgives(
        "edit-needs-image-urls", when=lambda b: b.get("image_urls") == []
    ),
    "edit without pictures is accepted with model 2": forgives(
        "edit-needs-image-urls", when=lambda b: b.get("model") == "nano-banana-2"
    ),
    "resolution is accepted with every model": forgives("resolution-needs-pro-or-2"),
    "resolution is accepted with the default model": forgives(
        "resolution-needs-pro-or-2", when=lambda b: "model" not in b
    ),
    "resolution 4K is accepted with fast": forgives(
        "resolution-needs-pro-or-2", when=lambda b: b.get("resolution") == "4K" and "model" in b
    ),
    "wide ratios are accepted with every model": forgives("wide-ratio-needs-2"),
    "wide ratios are accepted with pro": forgives(
        "wide-ratio-needs-2", when=lambda b: b.get("model") == "nano-banana-pro"
    ),
    "8:1 is accepted with pro in edits of 2K": forgives(
        "wide-ratio-needs-2",
        when=lambda b: (
            (b.get("model"), b.get("aspect_ratio"), b.get("action"), b.get("resolution"))
            == ("nano-banana-pro", "8:1", "edit", "2K")
        ),
    ),
    "two images are accepted": forgives("one-image-only"),
    "no image at all is accepted": forgives(
        "one-image-only", when=lambda b: b.get("num_images") == 0
    ),
    "any scheme is accepted": forgives("image-url-is-http", "image_urls[]:format"),
    "ftp is accepted": forgives(
        "image-url-is-http", when=lambda b: "ftp://" in str(b.get("image_urls"))
    ),
    "only the first address is checked": changes(
        lambda b: (
            b.update(image_urls=b["image_urls"][:1])
            if isinstance(b.get("image_urls"), list)
            else None
        )
    ),
    "addresses are checked in edits alone": changes(
        lambda b: b.pop("image_urls", None) if b.get("action") == "generate" else None
    ),
    # Plain breaks of the schema.
    "a missing prompt is accepted": changes(lambda b: b.setdefault("prompt", "x")),
    "a prompt of null is accepted": changes(
        lambda b: b.update(prompt="x") if b.get("prompt", "") is None else None
    ),
    "a prompt of any type is accepted": forgives("prompt:type"),
    "a missing action is generate": changes(lambda b: b.setdefault("action", "generate")),
    "any action is accepted": forgives("action:enum"),
    "action in any case": changes(
        lambda b: b.update(action=b["action"].lower()) if isinstance(b.get("action"), str) else None
    ),
    "any model is accepted": forgives("model:enum"),
    "model with blanks": changes(
        lambda b: b.update(model=b["model"].strip()) if isinstance(b.get("model"), str) else None
    ),
    "resolution in small letters": changes(
        lambda b: (
            b.update(resolution=b["resolution"].upper())
            if isinstance(b.get("resolution"), str)
            else None
        )
    ),
    "any ratio is accepted": forgives("aspect_ratio:enum"),
    "null is as good as absent": changes(
        lambda b: [b.pop(name) for name in list(b) if b[name] is None and name != "prompt"]
    ),
    "true is one image": changes(
        lambda b: b.update(num_images=1) if b.get("num_images") is True else None
    ),
    "the text 1 is one image": changes(
        lambda b: b.update(num_images=1) if b.get("num_images") == "1" else None
    ),
    "one address as text is accepted": changes(
        lambda b: (
            b.update(image_urls=[b["image_urls"]]) if isinstance(b.get("image_urls"), str) else None
        )
    ),
    "any content type is accepted": AnyType,
    "text after the JSON is accepted": Hasty,
    # Legal requests that are refused.
    "pro is refused": refuses(lambda b: b.get("model") == "nano-banana-pro"),
    "the default model by name is refused": refuses(lambda b: b.get("model") == "nano-banana-fast"),
    "4K is refused with 2": refuses(
        lambda b: (b.get("model"), b.get("resolution")) == ("nano-banana-2", "4K")
    ),
    "5:4 is refused": refuses(lambda b: b.get("aspect_ratio") == "5:4"),
    "1:8 is refused in edits": refuses(
        lambda b: (b.get("aspect_ratio"), b["action"]) == ("1:8", "edit")
    ),
    "num_images is refused": refuses(lambda b: "num_images" in b),
    "1.0 is refused": refuses(lambda b: isinstance(b.get("num_images"), float)),
    "two addresses are refused": refuses(lambda b: len(b.get("image_urls", [])) > 1),
    "http addresses are refused": refuses(lambda b: "http:" in str(b.get("image_urls"))),
    "pictures are refused with generate": refuses(
        lambda b: b.get("image_urls") and b["action"] == "generate"
    ),
    "an empty list is refused with generate": refuses(lambda b: b.get("image_urls") == []),
    "unknown properties are refused": refuses(lambda b: "spec_lacks_it" in b),
    "an empty prompt is refused": refuses(lambda b: b["prompt"] == ""),
    "prompts of more than 1,000 characters are refused": refuses(lambda b: len(b["prompt"]) > 1000),
    "prompts outside Latin are refused": refuses(
        lambda b: any(ord(c) > 0x24F for c in b["prompt"][:20])
    ),
    "another order of the properties is refused": refuses(
        lambda b: next(iter(b)) not in ("prompt", "")
    ),
    "a charset is refused": Picky,
    # Failures.
    "NUL fails": crashes(lambda b: "\x00" in str(b.get("prompt"))),
    "emoji fail": crashes(lambda b: "🐈" in str(b.get("prompt"))),
    "long prompts fail": crashes(lambda b: len(str(b.get("prompt"))) > 30_000),
    "a prompt that is no text fails": crashes(lambda b: isinstance(b.get("prompt"), list)),
    "a lone surrogate fails": crashes(lambda b: "\ud800" in str(b.get("prompt"))),
    "2 images and edit fail": crashes(
        lambda b: (b.get("num_images"), b.get("action")) == (2, "edit")
    ),
    "a quote in the query fails": lambda app: On(
        app, lambda r: "%27" in r.url.query or "'" in r.url.query, PlainTextResponse("oops", 500)
    ),
    "an unknown task fails": lambda app: On(
        app, lambda r: "unknown" in r.url.query, PlainTextResponse("oops", 500)
    ),
    "PUT fails": lambda app: On(app, lambda r: r.method == "PUT", PlainTextResponse("oops", 500)),
    "one request in a hundred fails": lambda app: EveryHundredth(
        app, PlainTextResponse("oops", 502)
    ),
    "one request in three hundred fails": lambda app: EveryHundredth(
        app, PlainTextResponse("oops", 500), 300
    ),
    # Keys.
    "no key is needed": admits(lambda r: True),
    "no key is needed to look": admits(lambda r: True, only="GET"),
    "no key is needed to submit": admits(lambda r: True, only="POST"),
    "any key will do": admits(lambda r: header(r).startswith("Bearer ") and len(header(r)) > 7),
    "an empty key will do": admits(lambda r: header(r).strip() == "Bearer"),
    "any scheme will do": admits(lambda r: header(r).endswith(f" {DEFAULT_KEYS[0]}")),
    "no scheme will do": admits(lambda r: header(r) == DEFAULT_KEYS[0]),
    "the beginning of the key will do": admits(
        lambda r: DEFAULT_KEYS[0].startswith(header(r)[7:] or "?")
    ),
    "more than the key will do": admits(
        lambda r: header(r).startswith(f"Bearer {DEFAULT_KEYS[0]}")
    ),
    "the key in any case will do": admits(
        lambda r: header(r).lower() == f"bearer {DEFAULT_KEYS[0]}"
    ),
    "the key in the query will do": admits(lambda r: "token" in r.query_params),
    "the key in X-API-Key will do": admits(lambda r: "x-api-key" in r.headers),
    "a cookie will do": admits(lambda r: "token" in r.cookies),
    "a missing key is answered 404": lambda app: On(
        app, lambda r: not header(r) and "gemini" in r.url.path, PlainTextResponse("", 404)
    ),
    "the right key is refused with pro": crashes(lambda b: b.get("model") == PRO, 401),
    "the right key is refused to look now and then": lambda app: On(
        EveryHundredth(app, PlainTextResponse("", 401), 50),
        lambda r: r.method != "GET" or "gemini" not in r.url.path,
        app,
    ),
    "every account sees every task": Shared,
    # Answers.
    "a submission is answered 200": answers(status=200),
    "a submission is answered 202": answers(status=202),
    "the task id is a number": answers(submit={"taskId": 5}),
    "the task id is empty": answers(submit={"taskId": ""}),
    "the task id is missing": answers(submit=lambda v: {"id": v["taskId"]}),
    "the answer is wrapped": answers(submit=lambda v: {"data": v}),
    "a look is wrapped": answers(look=lambda v: {"data": v}),
    "the task id is not echoed": answers(look={"taskId": "x"}),
    "a look has no status": answers(look=lambda v: without(v, "status")),
    "a status that the enum lacks": looks(lambda v, n: {**v, "status": "running"} if n == 2 else v),
    "a date is none": answers(look={"createdAt": "yesterday"}),
    "a date has no zone": completed(lambda v: {**v, "finishedAt": "2026-01-01T00:00:00"}),
    "a date is a number": answers(look={"createdAt": 1_700_000_000}),
    "a date is null": answers(look=lambda v: {"finishedAt": None, **v}),
    "a result is a list": completed(lambda v: {**v, "result": [v["result"]]}),
    "answers are said to be text": AsText,
    "the answers are no JSON": NoJSON,
    "half of all is refused": refuses(lambda b: len(str(b)) % 2),
    "one id for every task": Reusing,
    # The life of tasks.
    "every fifth task is lost": Forgetful,
    "a new task is there only at the second look": looks(
        lambda v, n: JSONResponse({"message": "not yet"}, 404) if n == 1 else v
    ),
    "a status goes back": looks(
        lambda v, n: (
            {**v, "status": "assigned"} if n == 1 else {**v, "status": "pending"} if n == 2 else v
        )
    ),
    "a final status changes": looks(lambda v, n: {**v, "status": "failed"} if n == 5 else v),
    "completed without a picture": completed(lambda v: {**v, "result": {"imageUrls": []}}),
    "completed without a result": completed(lambda v: without(v, "result")),
    "completed with a result of null": completed(lambda v: {**v, "result": None}),
    "pictures are gone": NoPicture,
    "pictures are nowhere": completed(
        lambda v: {**v, "result": {"imageUrls": ["http://127.0.0.1:1/a.png"]}}
    ),
    "pictures are pages": PageForPicture,
    "unknown tasks are pending": Inventing,
    "a missing id is answered 200": Lax,
    "longer ids find a task": AnyTask,
}


def statuses(change: Mapping[int, int]) -> Wrap:
    """Answer with other statuses, and with text in place of JSON."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_changed(message: Any) -> None:
                status = change.get(message.get("status", 0))
                await send({**message, "status": status} if status else message)

            await app(scope, receive, send_changed)

        return serve

    return wrap


def is_strict(body: dict[str, Any]) -> bool:
    addresses = body.get("image_urls", [])
    return any(
        not re.fullmatch(r"https?://[a-z0-9.:-]+(/[\w./%?=&-]*)?", each, re.A) for each in addresses
    )


class AtOnce(MockAPI):
    """Has every task done by its first look."""

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        task = self.tasks.find(request.query_params.get("taskId", ""))
        if task:
            task._steps = 3
        return super().poll(operation, request, account)


class Lenient(MockAPI):
    """Takes every address that Python's own parser finds a host in."""

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
    """Looks for the task before the key."""

    def authenticate(self, operation: Operation, request: Request) -> str:
        if operation.is_poll and not self.tasks.find(request.query_params.get("taskId", "")):
            raise Refusal(404, "there is no such task")
        return super().authenticate(operation, request)


OPEN: dict[str, API | Wrap] = {
    "the task before the key": TaskFirst,
    "tasks that take long": looks(lambda v, n: {**without(v, "result"), "status": "ready"}),
}
LEGAL: dict[str, API | Wrap] = {
    "the mock": MockAPI,
    "422, 403 and 400": statuses({400: 422, 401: 403, 404: 400}),
    "415 and 413 as 400, 405 as 404": statuses({415: 400, 413: 400, 405: 404}),
    "501 for unknown methods": statuses({405: 501}),
    "strict addresses": refuses(lambda b: isinstance(b, dict) and is_strict(b)),
    "lenient addresses": Lenient,
    "neither NUL nor surrogates": refuses(
        lambda b: "\x00" in b["prompt"] or "\ud800" in b["prompt"]
    ),
    "bodies of 50 KB at most": refuses(lambda b: len(str(b)) > 50_000),
    "tasks that are done at once": AtOnce,
    "tasks that fail": looks(
        lambda v, n: (
            v
            if n == 1
            else {**without(v, "result"), "status": "failed", "errorMessage": "no", "errorCode": 7}
        )
    ),
    "other shapes of the result, and more fields": completed(
        lambda v: {**v, "more": {"a": None}, "result": {"image_urls": v["result"]["imageUrls"]}}
    ),
}


def application(contract: Contract, name: str) -> Starlette:
    """Return the server of that name."""
    made = {**DEFECTS, **OPEN, **LEGAL}[name]
    if isinstance(made, type) and issubclass(made, MockAPI):
        return build_app(made(contract, DEFAULT_KEYS), contract)
    app = build_app(MockAPI(contract, DEFAULT_KEYS), contract)
    app.add_middleware(Wrapped, wrap=made)  # type: ignore[arg-type]
    return app


class Wrapped:
    """Puts a function of an application in the place of a middleware class."""

    def __init__(self, app: ASGIApp, wrap: Wrap) -> None:
        self._app = wrap(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
