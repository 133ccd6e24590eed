"""The server's application: every operation of the contract, and a page for people."""

from __future__ import annotations

import hmac
import html
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from string import Template
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mountsea_banana._samples import sample
from mountsea_banana.contract import Contract, Operation, Problem

from ._pictures import draw
from ._tasks import Task, TaskStore

DEFAULT_KEYS = ("test-token", "other-token")

# The vendor allows 10 MB a picture, and pictures are sent as links: no honest body is larger.
MAX_BODY = 10 * 1024 * 1024


class Refusal(Exception):
    """A request that the contract forbids: its status, and what is wrong."""

    def __init__(self, status: int, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems

    def response(self) -> Response:
        """Return the answer that names what is wrong."""
        problems = [
            {"rule": each.rule, "field": each.field, "message": each.message}
            for each in self.problems
        ]
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else None
        body = {"message": str(self), "problems": problems}
        return JSONResponse(body, self.status, headers=headers)


class MockAPI:
    """The API as the contract describes it."""

    def __init__(self, contract: Contract, keys: Sequence[str]) -> None:
        self._contract = contract
        self._keys = tuple(keys)
        self.tasks = TaskStore()

    def handler(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers one operation."""

        async def handle(request: Request) -> Response:
            try:
                account = self.account(operation, request)
                self.check_parameters(operation, request)
                body = await self.read_body(operation, request)
                return self.answer(operation, request, account, body)
            except Refusal as refusal:
                return refusal.response()

        return handle

    def account(self, operation: Operation, request: Request) -> str:
        """Return the account of the request's key, empty where the operation is open to all."""
        if not operation.is_secured:
            return ""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        for key in self._keys:
            if scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), key.encode()):
                return key
        raise Refusal(401, "send a key that this server knows as `Authorization: Bearer KEY`")

    def check_parameters(self, operation: Operation, request: Request) -> None:
        """Refuse a request without a required parameter of its query."""
        for parameter in operation.parameters:
            given = request.query_params.get(parameter.name, "")
            if parameter.place == "query" and parameter.is_required and not given:
                problem = Problem("required", parameter.name, "it is missing or empty")
                raise Refusal(400, f"the query needs {parameter.name}", [problem])

    async def read_body(self, operation: Operation, request: Request) -> Any:
        """Return the parsed body; refuse one that breaks the contract."""
        if operation.request is None:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise Refusal(413, f"the body is larger than {MAX_BODY} bytes")
        if not body and not operation.is_request_required:
            return None
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Refusal(415, "send the body as Content-Type: application/json")
        try:
            document = json.loads(body.decode(), parse_constant=_refuse_constant)
            problems = self.problems(operation, document)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the body is no JSON: {type(error).__name__}") from error
        if problems:
            said = "; ".join(f"{each.field or 'body'}: {each.message:.200}" for each in problems)
            raise Refusal(400, said, problems)
        return document

    def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
        """Return what the contract finds wrong with a body."""
        assert operation.request is not None  # noqa: S101
        return self._contract.problems(operation.request, document)

    def answer(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        """Answer a request that keeps the contract."""
        success = operation.success
        if operation.makes_tasks:
            task = Task(account, body or {})
            self.tasks.add(task)
            return JSONResponse({"taskId": task.id}, operation.success_status)
        if operation.looks_at_tasks:
            return self.look(operation, request, account)
        if success is None:
            return Response(status_code=operation.success_status)
        value = sample(success.schema, self._contract.document)
        return JSONResponse(value, operation.success_status)

    def look(self, operation: Operation, request: Request, account: str) -> Response:
        """Answer with where a task stands; refuse an id that is not the account's."""
        task_id = request.query_params.get("taskId") or request.path_params.get("taskId", "")
        task = self.tasks.find(task_id)
        if task is None or task.account != account:
            raise Refusal(404, "there is no such task: give an id that a submission returned")
        picture_url = str(request.url_for("picture", task_id=task.id))
        return JSONResponse(task.look(picture_url), operation.success_status)

    async def picture(self, request: Request) -> Response:
        """Answer with a task's picture, to whoever knows its address."""
        task = self.tasks.find(request.path_params["task_id"])
        if task is None:
            return Refusal(404, "there is no such picture").response()
        content = await run_in_threadpool(draw, task.request, task.id)
        return Response(content, media_type="image/png")

    async def page(self, request: Request) -> Response:
        """Answer with the tasks and their pictures, newest first."""
        page = Template((resources.files("mountsea_banana.mock") / "page.html").read_text("utf-8"))
        cards = [self._card(task, request) for task in reversed(self.tasks.all())]
        empty = (
            "<p>No task yet. Submit one:</p><pre>curl -H 'Authorization: Bearer KEY' "
            '-H \'Content-Type: application/json\' \\\n  -d \'{"prompt": "a cat", '
            f'"action": "generate"}}\' \\\n  {request.base_url}gemini/image/generate</pre>'
        )
        text = page.substitute(cards="\n".join(cards[:200]) or empty)
        # JSON's escapes bring lone surrogates, which no page can carry.
        return HTMLResponse(text.encode("utf-8", "replace"))

    def _card(self, task: Task, request: Request) -> str:
        picture = ""
        if task.finished_at:
            url = request.url_for("picture", task_id=task.id)
            picture = f'<a href="{url}"><img src="{url}" alt="" loading="lazy"></a>'
        names = ("action", "model", "aspect_ratio", "resolution")
        facts = " · ".join(str(task.request[name]) for name in names if name in task.request)
        prompt = str(task.request.get("prompt") or "(no prompt)")
        return (
            f'<article>{picture}<p class="prompt">{html.escape(prompt[:500])}</p>'
            f"<p>{html.escape(facts)}</p>"
            f'<p><b class="{task.status}">{task.status}</b> <code>{task.id}</code></p></article>'
        )

    async def spec(self, _: Request) -> Response:
        """Answer with the spec as it was published."""
        return Response(self._contract.source, media_type="application/yaml")


def create_app(contract: Contract, keys: Sequence[str] | None = None) -> Starlette:
    """Return the ASGI application that serves a contract.

    `keys` are the accounts' keys; by default those in MOCK_API_KEYS, separated by commas, or
    `test-token` and `other-token`. The API is at `app.state.api`.
    """
    if keys is None:
        named = os.environ.get("MOCK_API_KEYS", "").split(",")
        keys = [key.strip() for key in named if key.strip()] or DEFAULT_KEYS
    return app_of(MockAPI(contract, keys), contract)


def app_of(api: MockAPI, contract: Contract) -> Starlette:
    """Return the application of an API, so that one that differs can be served as well."""
    routes = [
        Route("/", api.page),
        Route("/openapi.yaml", api.spec),
        Route("/pictures/{task_id}.png", api.picture, name="picture"),
    ]
    routes += [
        Route(operation.path, api.handler(operation), methods=[operation.method])
        for operation in contract.operations
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse_route})
    app.state.api = api
    return app


def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    message = f"{error.detail}: the operations stand in {request.base_url}openapi.yaml"
    return JSONResponse({"message": message}, error.status_code, headers=error.headers)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
