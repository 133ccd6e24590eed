"""The control API under `/_mock`: the mock's knobs for programs in any language."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import asdict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ._api import MockAPI
from ._plan import plan_of


def control_routes(api: MockAPI) -> list[Route]:
    """Return the routes that steer an API; they ask for no key."""

    def state(_: Mapping[str, Any]) -> object:
        tasks = api.tasks.all()
        return {
            "charged": api.charged,
            "submissions": [task.request for task in tasks],
            "tasks": [{"taskId": task.id, "status": task.status} for task in tasks],
            "plan": asdict(api.plan),
            "next": [asdict(plan) for plan in api.next_plans],
        }

    def set_plan(knobs: Mapping[str, Any]) -> object:
        api.plan = plan_of(knobs)
        return asdict(api.plan)

    def add_next(knobs: Mapping[str, Any]) -> object:
        api.next_plans.append(plan_of(knobs))
        return asdict(api.next_plans[-1])

    def advance(arguments: Mapping[str, Any]) -> object:
        task_id = arguments.get("taskId")
        if not isinstance(task_id, str | None):
            raise ValueError(f"a taskId is text, not {task_id!r:.100}")
        return api.advance(task_id)

    def reset(_: Mapping[str, Any]) -> object:
        api.reset()
        return {}

    return [
        Route("/_mock", _endpoint(state), methods=["GET"]),
        Route("/_mock/plan", _endpoint(set_plan), methods=["POST"]),
        Route("/_mock/next", _endpoint(add_next), methods=["POST"]),
        Route("/_mock/advance", _endpoint(advance), methods=["POST"]),
        Route("/_mock/reset", _endpoint(reset), methods=["POST"]),
    ]


def _endpoint(
    act: Callable[[Mapping[str, Any]], object],
) -> Callable[[Request], Awaitable[Response]]:
    """Return what hands the JSON object of a request's body to `act`, and answers what it returns.

    No body counts as an empty object; what `act` cannot use is answered 400.
    """

    async def handle(request: Request) -> Response:
        try:
            arguments = json.loads(await request.body() or b"{}")
            if not isinstance(arguments, dict):
                raise ValueError("send a JSON object")
            said, status = act(arguments), 200
        except (ValueError, RecursionError) as error:
            said, status = {"message": str(error)}, 400
        # Escaped, as a prompt may hold half of a surrogate pair.
        return Response(json.dumps(said), status, media_type="application/json")

    return handle
