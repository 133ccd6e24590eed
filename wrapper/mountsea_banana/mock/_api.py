"""A mock of the API that the contract describes."""

from __future__ import annotations

import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mountsea_banana._shared.clock import Clock
from mountsea_banana.contract import Contract, Operation, Problem, sample

from ._images import Images
from ._plan import Plan
from ._tasks import Task, TaskStore

# The vendor allows images of 10 MB and accepts only their URLs, so no valid request body is larger.
MAX_BODY = 10 * 1024 * 1024

_REFUSAL_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}


class Refusal(Exception):
    """A request that the server refuses, with the response's status, message and problems."""

    def __init__(self, status: int, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems

    def response(self) -> Response:
        """Return the error response as JSON."""
        problems = [
            {"rule": each.rule, "field": each.field, "message": each.message}
            for each in self.problems
        ]
        body = {"message": str(self), "problems": problems}
        return JSONResponse(body, self.status, headers=_REFUSAL_HEADERS.get(self.status))


class TruncatedResponse(Response):
    """A response that closes its connection after half of the body, or at once if it is empty."""

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
    """An API that conforms to a contract. Subclasses can deviate from it."""

    def __init__(
        self,
        contract: Contract,
        keys: Sequence[str],
        plan: Plan | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._contract = contract
        self.keys = tuple(keys)
        self._clock = clock or Clock()
        self.initial_plan = plan or Plan()
        self.reset()

    def reset(self) -> None:
        """Forget all tasks, charges and queued plans, and restore the initial plan."""
        self.plan = self.initial_plan
        self.tasks = TaskStore()
        self.images = Images(self.tasks)
        self.charged = 0
        self.next_plans: deque[Plan] = deque()
        self._refused_plan: Plan | None = None
        self._refusals = 0

    def advance(self, task_id: str | None = None) -> dict[str, str]:
        """Advance one task by a step, or all tasks whose plan advances manually.

        Returns the new statuses by task id. Raises ValueError if the task does not exist or does
        not advance manually.
        """
        if task_id is None:
            chosen = [task for task in self.tasks.all() if task.plan.advances == "hand"]
        else:
            chosen = [self._find_manual(task_id)]
        for task in chosen:
            task.advance()
        return {task.id: task.status for task in chosen}

    def _find_manual(self, task_id: str) -> Task:
        task = self.tasks.find(task_id)
        if task is None:
            raise ValueError(f"cannot advance task {task_id!r:.100}: no such task")
        if task.plan.advances != "hand":
            raise ValueError(
                f"cannot advance task {task_id!r}: its plan has advances={task.plan.advances!r}; "
                "submit a task whose plan has advances='hand'"
            )
        return task

    def handler(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of an operation."""

        async def handle(request: Request) -> Response:
            try:
                account = self.authenticate(operation, request)
                self.check_parameters(operation, request)
                body = await self.read_body(operation, request)
                return self.respond(operation, request, account, body)
            except Refusal as refusal:
                return refusal.response()

        return handle

    def authenticate(self, operation: Operation, request: Request) -> str:
        """Return the account of the request's key, or "" if none is required. Refuse other keys."""
        if not operation.is_secured:
            return ""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        for key in self.keys:
            if scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), key.encode()):
                return key
        raise Refusal(
            401, "missing or invalid API key: send a valid one as `Authorization: Bearer KEY`"
        )

    def check_parameters(self, operation: Operation, request: Request) -> None:
        """Refuse a request whose query lacks a required parameter or has an invalid one."""
        for parameter in operation.parameters:
            if parameter.place != "query":
                continue
            given = request.query_params.get(parameter.name, "")
            if parameter.is_required and not given:
                problem = Problem("required", parameter.name, "missing or empty")
                message = f"missing query parameter: add `?{parameter.name}=…` to the URL"
                raise Refusal(400, message, [problem])
            problems = list(parameter.problems(given)) if given else []
            if problems:
                raise _invalid(problems)

    async def read_body(self, operation: Operation, request: Request) -> Any:
        """Return the parsed request body. Refuse one that violates the contract."""
        if operation.request is None:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise Refusal(413, f"the request body is larger than {MAX_BODY} bytes")
        if not body and not operation.is_request_required:
            return None
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            message = f"unsupported Content-Type {media_type!r:.100}: send application/json"
            raise Refusal(415, message)
        try:
            document = json.loads(body.decode(), parse_constant=_reject_constant)
            problems = self.problems(operation, document)
        except (ValueError, RecursionError) as error:
            message = f"the request body is not valid JSON: {error}"
            raise Refusal(400, message) from error
        if problems:
            raise _invalid(problems)
        return document

    def problems(self, operation: Operation, document: Any) -> Sequence[Problem]:
        """Return the ways in which a request body violates the contract."""
        return list(operation.request.problems(document)) if operation.request else []

    def respond(self, operation: Operation, request: Request, account: str, body: Any) -> Response:
        """Respond to a request that conforms to the contract."""
        success = operation.success
        if operation.is_submission:
            return self.submit(operation, account, body)
        if operation.is_poll:
            return self.poll(operation, request, account)
        if success is None:
            return Response(status_code=operation.success_status)
        value = sample(success.schema, self._contract.document)
        return JSONResponse(value, operation.success_status)

    def submit(self, operation: Operation, account: str, body: Any) -> Response:
        """Accept or refuse a submission according to the next plan."""
        plan = self.next_plans[0] if self.next_plans else self.plan
        if plan is not self._refused_plan:
            self._refused_plan, self._refusals = plan, 0
        if self._refusals < plan.refusals:
            self._refusals += 1
            count = f"{self._refusals} of {plan.refusals}"
            message = f"the mock is set to refuse this submission ({count})"
            raise Refusal(plan.refusal_status, message)
        self._refusals = 0
        if self.next_plans:
            self.next_plans.popleft()
        task = Task(account, body or {}, plan, self._clock)
        self.tasks.add(task)
        self.charged += 1
        if plan.drops:
            return TruncatedResponse()
        return JSONResponse({"taskId": task.id}, operation.success_status)

    def poll(self, operation: Operation, request: Request, account: str) -> Response:
        """Respond with a task's snapshot. Refuse the id of another account's task."""
        name = operation.task_parameter
        task_id = request.query_params.get(name) or request.path_params.get(name, "")
        task = self.tasks.find(task_id)
        if task is None or task.account != account:
            raise Refusal(404, "no such task: use an id that this API key's submissions returned")
        image_url = f"{request.base_url}images/{task.id}.png"
        counts = request.method != "HEAD"  # a HEAD has no effect
        return JSONResponse(task.poll(image_url, counts=counts), operation.success_status)

    async def image(self, request: Request) -> Response:
        """Respond with a task's image. Its URL requires no key."""
        task = self.tasks.find(request.path_params["task_id"])
        if task is None:
            message = "no such image: use a URL from the `imageUrls` of a completed task"
            return Refusal(404, message).response()
        content = await self.images.png(task)
        kind = TruncatedResponse if task.plan.truncates else Response
        return kind(content, media_type="image/png")

    async def spec(self, _: Request) -> Response:
        """Respond with the vendor's spec, unchanged."""
        return Response(self._contract.source, media_type="application/yaml")


def _invalid(problems: Sequence[Problem]) -> Refusal:
    message = "; ".join(f"{each.field or 'body'}: {each.message:.200}" for each in problems)
    return Refusal(400, message, problems)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
