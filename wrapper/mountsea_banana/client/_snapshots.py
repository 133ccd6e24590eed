"""A task's state at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from . import _polling


@frozen
class TaskSnapshot:
    """A task as the server described it at one moment."""

    task_id: str
    """The id that the submission returned."""
    status: str
    """The vendor's status, such as `processing`."""
    raw: Mapping[str, Any] = field(hash=False)
    """The whole response, including fields that the spec does not name."""

    @property
    def is_final(self) -> bool:
        """Whether the task has ended: completed, failed, cancelled or timeout."""
        return self.status in _polling.FINAL

    @property
    def image_urls(self) -> list[str]:
        """The URLs of the images; empty until the task is completed.

        Read from `result.imageUrls`, which the live API sends, and from other shapes reported by
        public clients: `image_urls`, and `images` as URLs or as objects with a `url`.
        """
        result = self.raw.get("result")
        if not isinstance(result, Mapping):
            return []
        found: list[str] = []
        for name in ("imageUrls", "image_urls", "images"):
            entries = result.get(name)
            for entry in entries if isinstance(entries, list) else []:
                url = entry.get("url") if isinstance(entry, Mapping) else entry
                if isinstance(url, str) and url:
                    found.append(url)
        return list(dict.fromkeys(found))

    @property
    def error_message(self) -> str | None:
        """Why the task failed, in the vendor's words."""
        return self._text("errorMessage")

    @property
    def error_code(self) -> float | str | None:
        """The vendor's code for the failure."""
        code = self.raw.get("errorCode")
        is_code = isinstance(code, int | float | str) and not isinstance(code, bool)
        return code if is_code else None

    @property
    def trace_id(self) -> str | None:
        """The id to quote to the vendor's support."""
        return self._text("traceId")

    @property
    def created_at(self) -> datetime | None:
        """When the task was created; None without a valid date and time zone."""
        return self._date("createdAt")

    @property
    def finished_at(self) -> datetime | None:
        """When the task ended; None without a valid date and time zone."""
        return self._date("finishedAt")

    def _text(self, name: str) -> str | None:
        value = self.raw.get(name)
        return value if isinstance(value, str) else None

    def _date(self, name: str) -> datetime | None:
        try:
            date = datetime.fromisoformat(self._text(name) or "")
        except ValueError:
            return None
        return date if date.tzinfo else None
