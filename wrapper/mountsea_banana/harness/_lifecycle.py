"""Checks the lifecycle of a task in the responses to its polls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from attrs import define, field

from mountsea_banana.contract import Operation, resolve

from ._case import Case
from ._transport import Response
from ._verify import Violation, read_object

# The spec's description of `status` names these as final. The other statuses are open.
FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})
MIN_FINAL_POLLS = 3


@define
class FollowedTask:
    """A task that is polled until its final status is settled."""

    id: str
    submission: Case
    _order: list[str] = field(repr=False)
    _status: str = ""
    _final_polls: int = 0
    _is_gone: bool = False
    image_url: str = ""
    """The URL of an image that has not been fetched yet."""

    @property
    def is_settled(self) -> bool:
        """Whether enough polls returned a final status to conclude that it does not change."""
        return self._is_gone or self._final_polls >= MIN_FINAL_POLLS

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
        if status not in self._order:
            return
        if self._status in FINAL and status != self._status:
            text = f"reports {status} for a task that was already {self._status}, a final status"
            yield Violation("response", text, "final status changed")
        elif self._status and self._order.index(status) < self._order.index(self._status):
            text = f"reports {status} for a task that was already {self._status}"
            yield Violation("response", text, "status went backwards")
        self._status = str(status)
        self._final_polls += status in FINAL
        if status == "completed" and self._makes_images:
            urls = [text for text in _strings(snapshot.get("result")) if _is_web_url(text)]
            if urls and self._final_polls == 1:
                self.image_url = urls[0]
            if not urls:
                result = json.dumps(snapshot.get("result"))[:100]
                text = f"reports completed without an image URL: the result is {result}"
                yield Violation("response", text, "completed without an image")

    @property
    def _makes_images(self) -> bool:
        return self.submission.operation.has_rules


def status_order(poll: Operation, document: Mapping[str, Any]) -> list[str]:
    """Return the statuses in the order of a task's progress: first the open ones, then the final.

    The open statuses keep the order of the spec's enum.
    """
    assert poll.success is not None  # noqa: S101
    schema = resolve(poll.success.schema, document)
    status = resolve(schema["properties"]["status"], document)
    return sorted(status.get("enum", []), key=lambda each: each in FINAL)


def fetch_image(client: httpx.Client, url: str) -> Violation | None:
    """Fetch an image without sending a key; return the violation if that does not work."""
    try:
        response = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"returns an image URL that cannot be fetched: {url:.200}: {error!r:.200}"
        return Violation("response", text, "image cannot be fetched")
    media_type = response.headers.get("content-type", "")
    if response.status_code != 200 or not response.content:
        status = response.status_code
        reason = f"status {status}" if status != 200 else "the response is empty"
        text = f"returns an image URL that cannot be fetched: {url:.200}: {reason}"
        return Violation("response", text, "image cannot be fetched")
    if not media_type.startswith("image/") and not response.content.startswith(_SIGNATURES):
        text = f"returns an image URL that serves {media_type or 'something else'}: {url:.200}"
        return Violation("response", text, "not an image")
    return None


_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"\x00\x00\x00")


def _strings(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value."""
    if isinstance(value, str):
        yield value
    for child in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _strings(child)


def _is_web_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))
