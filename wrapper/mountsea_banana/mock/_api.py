"""The API as the contract describes it."""

from __future__ import annotations

import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mountsea_banana._shared.clock import Clock
from mountsea_banana.contract import Contract, Operation, Problem, sample

from ._images import draw
from ._plan import Plan
from ._tasks import Task, TaskStore

# The vendor allows 10 MB a picture, and pictures are sent as links: no honest body is larger.
MAX_BODY = 10 * 1024 * 1024


_REFUSAL_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}


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
        body = {"message": str(self), "problems": problems}
        return JSONResponse(body, self.status, headers=_REFUSAL_HEADERS.get(self.status))


class BrokenOff(Response):
    """An answer whose connection closes in its middle or, without content, before it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.body:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            half = bytes(self.body[: len(self.body) // 2])
            await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["transport"].close()
        while (await receive())["type"] != "http.disconnect":
            pass


class MockAPI:
    """An API that conforms to a contract."""

    def __init__(
        self,
        contract: Contract,
        keys: Sequence[str],
        plan: Plan | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._contract = contract
        self._keys = tuple(keys)
        self._clock = clock or Clock()
        self._first_plan = plan or Plan()
        self.reset()

    def reset(self) -> None:
        """Be as at the start: without tasks, and with the plan that it was made with."""
        self.plan = self._first_plan
        self.tasks = TaskStore()
        self.charged = 0
        self.next_plans: deque[Plan] = deque()
        self._refusing: Plan | None = None
        self._refused = 0

    def advance(self, task_id: str | None = None) -> dict[str, str]:
        """Move one task, or all, that advance by hand a step on; return their statuses by id.

        Raises ValueError for a task that does not exist or does not advance by hand.
        """
        by_hand = {t.id: t for t in self.tasks.all() if t.plan.advances == "hand"}
        if task_id is not None and task_id not in by_hand:
            raise ValueError(f"there is no task {task_id!r:.100} that advances by hand")
        chosen = by_hand.values() if task_id is None else [by_hand[task_id]]
        for task in chosen:
            task.advance()
        return {task.id: task.status for task in chosen}

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
        return self._contract.problems(operation, document)

    def answer(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        """Answer a request that keeps the contract."""
        success = operation.success
        if operation.is_submission:
            return self.submit(operation, account, body)
        if operation.is_poll:
            return self.look(operation, request, account)
        if success is None:
            return Response(status_code=operation.success_status)
        value = sample(success.schema, self._contract.document)
        return JSONResponse(value, operation.success_status)

    def submit(self, operation: Operation, account: str, body: Any) -> Response:
        """Answer a submission as the next plan says; refuse it as often as that asks."""
        plan = self.next_plans[0] if self.next_plans else self.plan
        if plan is not self._refusing:
            self._refusing, self._refused = plan, 0
        if self._refused < plan.refusals:
            self._refused += 1
            raise Refusal(plan.refusal_status, "the mock was told to refuse this submission")
        self._refused = 0
        if self.next_plans:
            self.next_plans.popleft()
        task = Task(account, body or {}, plan, self._clock)
        self.tasks.add(task)
        self.charged += 1
        if plan.drops:
            return BrokenOff()
        return JSONResponse({"taskId": task.id}, operation.success_status)

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
        kind = BrokenOff if task.plan.truncates else Response
        return kind(content, media_type="image/png")

    async def spec(self, _: Request) -> Response:
        """Answer with the spec as it was published."""
        return Response(self._contract.source, media_type="application/yaml")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
