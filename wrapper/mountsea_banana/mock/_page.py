"""The page for a browser: it shows the tasks as they change, and submits new ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import resources
from typing import Any

from attrs import asdict, fields
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from mountsea_banana.contract import Contract, Operation, resolve, sample

from ._api import MockAPI
from ._plan import Plan
from ._tasks import Task

SHOWN_TASKS = 200
# Tasks that advance with time change without a request, so the page's state is compared this often.
INTERVAL = 0.2


def page_routes(api: MockAPI, contract: Contract) -> list[Route]:
    """Return the routes of the page, of its events, and of its small images."""
    document = (resources.files("mountsea_banana.mock") / "page.html").read_text("utf-8")
    # In a script element, `</script>` would end the JSON.
    form = json.dumps(_form(api, contract)).replace("<", r"\u003c")
    content = document.replace("{form}", form)

    async def page(_: Request) -> Response:
        return HTMLResponse(content)

    async def events(_: Request) -> Response:
        return StreamingResponse(
            _events(api), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def preview(request: Request) -> Response:
        task = api.tasks.find(request.path_params["task_id"])
        if task is None:
            return Response(status_code=404)
        content = await api.images.png(task, is_preview=True)
        return Response(content, media_type="image/png")

    return [
        Route("/", page),
        Route("/_mock/events", events),
        Route("/_mock/previews/{task_id}.png", preview),
    ]


def _form(api: MockAPI, contract: Contract) -> Mapping[str, Any]:
    """Return what the page needs to submit tasks: a key, and the fields of each operation."""
    return {
        # Other keys may be secrets, and the page needs none.
        "key": "test-token" if "test-token" in api.keys else "",
        "operations": [
            {"path": each.path, "fields": _fields(each, contract.document)}
            for each in contract.operations
            if each.is_submission
        ],
    }


def _fields(operation: Operation, document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    schema = resolve(operation.request.schema, document) if operation.request else {}
    required = schema.get("required", [])
    found = []
    for name, reference in schema.get("properties", {}).items():
        field = resolve(reference, document)
        found.append(
            {
                "name": name,
                "type": field.get("type", "string"),
                "description": field.get("description", ""),
                "values": field.get("enum", []),
                "value": sample(field, document) if name in required else None,
            }
        )
    return found


async def _events(api: MockAPI) -> AsyncIterator[str]:
    """Yield the state as server-sent events: now, and whenever it has changed."""
    sent = ""
    while True:
        state = json.dumps(_state(api))
        if state != sent:
            yield f"data: {state}\n\n"
            sent = state
        await asyncio.sleep(INTERVAL)


def _state(api: MockAPI) -> Mapping[str, Any]:
    tasks = api.tasks.all()
    return {
        "charged": api.charged,
        "plan": asdict(api.plan),
        "planSummary": _summary(api.plan),
        "next": [_summary(plan) for plan in api.next_plans],
        "tasks": [_card(api, task) for task in tasks[: -SHOWN_TASKS - 1 : -1]],
    }


def _card(api: MockAPI, task: Task) -> Mapping[str, Any]:
    request = task.request
    status, is_final = task.state()
    names = ("action", "model", "aspect_ratio", "resolution")
    return {
        "id": task.id,
        "status": status,
        "isFinal": is_final,
        "isManual": task.plan.advances == "hand",
        "plan": _summary(task.plan),
        "error": task.error_message if is_final and status != "completed" else None,
        "prompt": str(request.get("prompt") or "")[:500],
        "facts": " · ".join(str(request[name]) for name in names if name in request),
        "sources": [source.id for source in api.images.sources(task)],
    }


def _summary(plan: Plan) -> str:
    """Return a plan in words: how the task ends, and every other knob that is set."""
    when = {
        "time": f"after {plan.seconds:g} s",
        "poll": f"at poll {plan.polls}",
        "hand": "when you advance it",
    }
    ending = ("ends_as", "advances", "seconds", "polls")
    others = [
        field.name if value is True else f"{field.name}: {value}"
        for field in fields(Plan)
        if field.name not in ending and (value := getattr(plan, field.name)) != field.default
    ]
    return ", ".join([f"ends as {plan.ends_as} {when[plan.advances]}", *others])
