"""The page that shows the tasks and their images in a browser."""

from __future__ import annotations

import html
from importlib import resources
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ._api import MockAPI
from ._tasks import Task


def page_route(api: MockAPI) -> Route:
    """Return the route of the page. It shows the last 200 tasks, newest first."""

    async def page(request: Request) -> Response:
        template = resources.files("mountsea_banana.mock") / "page.html"
        cards = [_card(task, request) for task in reversed(api.tasks.all())]
        key = "test-token" if "test-token" in api.keys else "KEY"
        empty = (
            "<p>No tasks yet. Submit one:</p>"
            f"<pre>curl {request.base_url}gemini/image/generate \\\n"
            f"  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
            '  -d \'{"prompt": "a cat", "action": "generate"}\'</pre>'
        )
        text = Template(template.read_text("utf-8")).substitute(
            cards="\n".join(cards[:200]) or empty
        )
        # A prompt may contain lone surrogates, which UTF-8 cannot encode.
        return HTMLResponse(text.encode("utf-8", "replace"))

    return Route("/", page)


def _card(task: Task, request: Request) -> str:
    image = ""
    if task.status == "completed":
        url = request.url_for("image", task_id=task.id)
        image = f'<a href="{url}"><img src="{url}" alt="Image of this task" loading="lazy"></a>'
    names = ("action", "model", "aspect_ratio", "resolution")
    facts = " · ".join(str(task.request[name]) for name in names if name in task.request)
    status = html.escape(task.status)
    prompt = str(task.request.get("prompt") or "(no prompt)")
    return (
        f'<article>{image}<p class="prompt">{html.escape(prompt[:500])}</p>'
        f"<p>{html.escape(facts)}</p>"
        f'<p><b class="{status}">{status}</b></p><p><code>{task.id}</code></p></article>'
    )
