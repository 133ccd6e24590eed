"""Checks the lifecycle of a task in the responses to its polls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import define

from . import _pictures
from ._case import BEARER, OTHER_BEARER, Case, Request
from ._transport import Response
from ._verify import Violation, read_object

# The spec's description of `status` names these as final. The other statuses are open, and a task
# may move between them: a worker that gives up returns its task to the queue.
FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})
MIN_FINAL_POLLS = 3


@define
class Task:
    """A task that the server has created, and what its polls have told."""

    id: str
    submission: Case
    status: str = ""
    """The last status; empty before the first poll."""
    image_urls: tuple[str, ...] = ()
    """Where its picture may be."""
    _final_polls: int = 0
    _is_gone: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether enough polls returned a final status to conclude that it does not change."""
        return self._is_gone or self._final_polls >= MIN_FINAL_POLLS

    @property
    def bearer(self) -> tuple[str, str]:
        """The header with the key of the account that submitted it."""
        headers = self.submission.request.headers
        return OTHER_BEARER if OTHER_BEARER in headers else BEARER

    def observe(self, response: Response) -> Iterator[Violation]:
        """Record the response to a poll; yield its violations, except those of the schema."""
        snapshot = read_object(response)
        if not 200 <= response.status < 300:
            # A missing task does not come back, but a server failure may be temporary.
            self._is_gone = 400 <= response.status < 500 and response.status != 429
            return
        if snapshot.get("taskId") != self.id:
            text = f"responds with task {snapshot.get('taskId')!r:.80} instead of the polled one"
            yield Violation("response", text, "wrong taskId")
        status = snapshot.get("status")
        if not isinstance(status, str):
            return
        yield from self.contradictions(response)
        self.status = status
        self._final_polls += status in FINAL
        if status == "completed" and self.submission.operation.makes_images:
            self.image_urls = tuple(_pictures.candidates(snapshot.get("result"), self._sources()))
            if not self.image_urls:
                result = json.dumps(snapshot.get("result"))[:100]
                text = f"reports completed without an image URL: the result is {result}"
                yield Violation("response", text, "completed without an image")

    def contradictions(self, response: Response) -> Iterator[Violation]:
        """Yield a violation if a poll that was sent after the last one changes a final status."""
        status = read_object(response).get("status")
        if self.status in FINAL and isinstance(status, str) and status != self.status:
            text = f"reports {status} for a task that was already {self.status}, a final status"
            yield Violation("response", text, "final status changed")

    def _sources(self) -> list[str]:
        """Return the strings in the lists of the request body."""
        lists = [
            each for each in body_of(self.submission.request).values() if isinstance(each, list)
        ]
        return [text for each in lists for text in each if isinstance(text, str)]


def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request body, or an empty one."""
    try:
        value = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
