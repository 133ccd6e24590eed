"""The mock's images: in the requested aspect ratio and resolution, and drawn when requested."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ._tasks import Task, TaskStore

if TYPE_CHECKING:
    from ._drawing import Drawing

PREVIEW = 800
"""The longer side of a preview, in pixels."""
# An image of this size takes 256 MB of memory while it is drawn.
MAX_SIDE = 16 * 1024
MAX_SOURCES = 4
# Images are drawn one at a time. Each thread of a pool would keep the memory of the largest.
_thread = ThreadPoolExecutor(1, "mock-images")
_URL = re.compile(r".*/images/([0-9a-f]+)\.png")


def size(request: Mapping[str, Any]) -> tuple[int, int]:
    """Return the width and height in pixels.

    The ratio is exact, so the longer side may be a few pixels shorter than the resolution. Values
    that are not of the form `16:9` or `2K` count as 1:1 and 1K.
    """
    ratio = re.fullmatch(r"([1-9]\d{0,2}):([1-9]\d{0,2})", str(request.get("aspect_ratio")))
    width, height = map(int, ratio.groups()) if ratio else (1, 1)
    resolution = re.fullmatch(r"([1-9]\d{0,2})K", str(request.get("resolution")))
    side = min(1024 * int(resolution[1]), MAX_SIDE) if resolution else 1024
    unit = side // max(width, height)
    return width * unit, height * unit


class Images:
    """Draws the images of tasks when they are requested, and keeps the latest."""

    def __init__(self, tasks: TaskStore) -> None:
        self._tasks = tasks
        self._cached = lru_cache(maxsize=64)(self._draw)

    async def png(self, task: Task, *, is_preview: bool = False) -> bytes:
        """Return the image of a task, or a preview of it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_thread, self._cached, task, is_preview)

    def sources(self, task: Task) -> list[Task]:
        """Return the tasks whose images a task edits. Only the first few images count."""
        urls = task.request.get("image_urls")
        shown = urls[:MAX_SOURCES] if isinstance(urls, list) else []
        found = [_URL.fullmatch(str(url)) for url in shown]
        tasks = [self._tasks.find(match[1]) for match in found if match]
        return [source for source in tasks if source]

    def _draw(self, task: Task, is_preview: bool) -> bytes:
        from ._drawing import png  # importing Pillow takes longer than starting the server

        drawing = self._describe(task)
        return png(drawing.fit(PREVIEW, PREVIEW) if is_preview else drawing)

    def _describe(self, task: Task, depth: int = 2) -> Drawing:
        """Return what the image of a task shows: its sources too, and theirs, but no deeper."""
        from ._drawing import HUES, Drawing

        width, height = size(task.request)
        names = ("action", "model", "aspect_ratio", "resolution")
        options = [task.request[name] for name in names if name in task.request]
        sources = self.sources(task) if depth else []
        return Drawing(
            width,
            height,
            hue=hashlib.sha256(task.id.encode()).digest()[0] % HUES,
            prompt=str(task.request.get("prompt", ""))[:2000],
            # With the id, no two tasks have the same image, whatever their prompts are.
            caption=" · ".join((*map(str, options), task.id[:8])),
            sources=tuple(self._describe(source, depth - 1) for source in sources),
        )
