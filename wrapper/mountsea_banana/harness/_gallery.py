"""The images of completed tasks: fetched, fetched again, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from . import _pictures
from ._case import TASKS
from ._lifecycle import Task, body_of
from ._pictures import NotFetchedError, Picture
from ._plan import Plan
from ._verify import Violation

MAX_FETCHED_AGAIN = 8
TIMEOUT = 30.0


class Gallery:
    """Fetches the images of tasks without a key, from any host. Each method yields violations."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._pictures: dict[str, Picture] = {}
        self._tasks: dict[str, Task] = {}

    def __len__(self) -> int:
        """Return the number of tasks with an image."""
        return len(self._pictures)

    def fetch(self, tasks: Sequence[Task], connections: int) -> Iterator[tuple[Task, Violation]]:
        """Fetch the images of settled tasks that it does not have yet."""
        tasks = [
            task
            for task in tasks
            if task.image_urls and task.id not in self._pictures and task.is_settled
        ]
        with _client() as client, ThreadPoolExecutor(connections) as pool:

            def fetch(task: Task) -> Picture | NotFetchedError:
                try:
                    return _pictures.fetch(client, task.image_urls)
                except NotFetchedError as problem:
                    return problem

            for task, found in zip(tasks, pool.map(fetch, tasks), strict=True):
                violation = (
                    Violation("response", *found.args)
                    if isinstance(found, NotFetchedError)
                    else self._add(task, found)
                )
                task.image_urls = ()
                if violation:
                    yield task, violation

    def fetch_again(self) -> Iterator[tuple[Task, Violation]]:
        """Fetch some images a second time, as a URL is for more than one request."""
        with _client() as client:
            for task, picture in [*self._pictures.items()][:MAX_FETCHED_AGAIN]:
                try:
                    _pictures.fetch(client, [picture.url])
                except NotFetchedError as problem:
                    text = str(problem.args[0]).replace("cannot be", "cannot again be")
                    detail = "image cannot be fetched again"
                    yield self._tasks[task], Violation("response", text, detail)

    def compare(self) -> Iterator[tuple[Task, Violation]]:
        """Compare the images of tasks whose texts differ."""
        submissions = {id_: task.submission for id_, task in self._tasks.items()}
        kinds = {id_: each.variant for id_, each in submissions.items() if each.check == TASKS}
        for task, violation in _pictures.mixed_up(self._pictures, kinds):
            yield self._tasks[task], violation

    def _add(self, task: Task, picture: Picture) -> Violation | None:
        """Add an image; return a warning if its ratio is not the one asked for."""
        self._pictures[task.id] = picture
        self._tasks[task.id] = task
        ratios = self._plan.ratios(task.submission.operation)
        for value in body_of(task.submission.request).values():
            if value in ratios:
                return _pictures.wrong_ratio(picture, value, ratios)
        return None


def _client() -> httpx.Client:
    return httpx.Client(follow_redirects=True, timeout=TIMEOUT, trust_env=False)
