"""The control API under `/_mock`: it sets the mock's knobs from any language."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import asdict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mountsea_banana._version import __version__

from ._api import MockAPI
from ._plan import parse_plan


def control_routes(api: MockAPI) -> list[Route]:
    """Return the routes that control `api`. They require no key."""

    def state(_: Mapping[str, Any]) -> object:
        tasks = api.tasks.all()
        return {
            "mock": f"mountsea-banana {__version__}",
            "charged": api.charged,
            "submissions": [task.request for task in tasks],
            "tasks": [{"taskId": task.id, "status": task.status} for task in tasks],
            "plan": asdict(api.plan),
            "next": [asdict(plan) for plan in api.next_plans],
        }

    def set_plan(knobs: Mapping[str, Any]) -> object:
        api.plan = parse_plan(knobs, api.initial_plan)
        return asdict(api.plan)

    def add_next(knobs: Mapping[str, Any]) -> object:
        api.next_plans.append(parse_plan(knobs, api.plan))
        return asdict(api.next_plans[-1])

    def advance(arguments: Mapping[str, Any]) -> object:
        task_id = arguments.get("taskId")
        if not isinstance(task_id, str | None):
            raise ValueError(f"taskId must be a string, not {task_id!r:.100}")
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
    action: Callable[[Mapping[str, Any]], object],
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that calls `action` with the JSON object in the request body.

    It responds with the result of `action` as JSON. An empty body counts as an empty object. An
    invalid body, or a ValueError from `action`, gets a 400.
    """

    async def handle(request: Request) -> Response:
        result: object
        try:
            result, status = action(_parse(await request.body())), 200
        except ValueError as error:
            result, status = {"message": str(error)}, 400
        # Escaped, because a prompt may contain half of a surrogate pair.
        return Response(json.dumps(result), status, media_type="application/json")

    return handle


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        arguments = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the request body is not valid JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ValueError('the request body must be a JSON object, such as {"polls": 1}')
    return arguments
