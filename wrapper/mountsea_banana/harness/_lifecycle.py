"""The life of a task, as its looks show it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from attrs import define, field

from mountsea_banana.contract import Operation, resolve

from ._case import Case
from ._transport import Answer
from ._verify import Complaint, read_object

# The spec's description of the status names these as final; the others are open, in its order.
FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})
LOOKS_AT_THE_END = 3


@define
class Life:
    """One task from its submission on."""

    task: str
    submission: Case
    _order: list[str] = field(repr=False)
    _status: str = ""
    _looks_at_the_end: int = 0
    _is_gone: bool = False
    picture: str = ""
    """The address of a picture that was not fetched yet."""

    @property
    def is_over(self) -> bool:
        """Whether a final status was seen often enough to know that it stays."""
        return self._is_gone or self._looks_at_the_end >= LOOKS_AT_THE_END

    def see(self, answer: Answer) -> Iterator[Complaint]:
        """Take in one look; give what is wrong with it beside its schema."""
        seen = read_object(answer)
        if not 200 <= answer.status < 300:
            # A task that is gone does not come back; a failure may pass.
            self._is_gone = 400 <= answer.status < 500 and answer.status != 429
            return
        if seen.get("taskId") != self.task:
            yield Complaint(
                "answer", f"answers with the task {seen.get('taskId')!r:.80}", "another taskId"
            )
        status = seen.get("status")
        if status not in self._order:
            return
        if self._status in FINAL and status != self._status:
            text = f"says {status} of a task that was {self._status}, which is final"
            yield Complaint("answer", text, "a final status changed")
        elif self._status and self._order.index(status) < self._order.index(self._status):
            text = f"says {status} of a task that was {self._status} already"
            yield Complaint("answer", text, "a status went back")
        self._status = str(status)
        self._looks_at_the_end += status in FINAL
        if status == "completed" and self._makes_pictures:
            found = [text for text in _texts(seen.get("result")) if _is_web_address(text)]
            if found and self._looks_at_the_end == 1:
                self.picture = found[0]
            if not found:
                shown = json.dumps(seen.get("result"))[:100]
                text = f"says completed without a picture's address: the result is {shown}"
                yield Complaint("answer", text, "completed without a picture")

    @property
    def _makes_pictures(self) -> bool:
        return self.submission.operation.has_rules


def order(look: Operation, document: Mapping[str, Any]) -> list[str]:
    """Return the statuses as a task goes through them: the open ones, then the final ones."""
    assert look.success is not None  # noqa: S101
    schema = resolve(look.success.schema, document)
    status = resolve(schema["properties"]["status"], document)
    return sorted(status.get("enum", []), key=lambda each: each in FINAL)


def fetch(client: httpx.Client, url: str) -> Complaint | None:
    """Fetch a picture, without a key; return what is wrong with it."""
    try:
        answer = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"gives a picture's address that cannot be fetched: {url:.200}: {error!r:.200}"
        return Complaint("answer", text, "a picture cannot be fetched")
    kind = answer.headers.get("content-type", "")
    if answer.status_code != 200 or not answer.content:
        text = f"gives a picture's address that answers {answer.status_code}: {url:.200}"
        return Complaint("answer", text, "a picture cannot be fetched")
    if not kind.startswith("image/") and not answer.content.startswith(_IMAGES):
        text = f"gives a picture's address that holds {kind or 'no picture'}: {url:.200}"
        return Complaint("answer", text, "a picture is none")
    return None


_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"\x00\x00\x00")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for child in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _texts(child)


def _is_web_address(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))
