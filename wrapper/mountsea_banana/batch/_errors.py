"""The errors of a batch. After each, nothing was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mountsea_banana.client._errors import NanoBananaError

if TYPE_CHECKING:
    from ._rows import BadRow


class UnreadableRows(NanoBananaError):
    """The rows cannot be read: no such file, no CSV, or a column that is no field of a request."""


class InvalidRows(NanoBananaError, ValueError):
    """Rows violate rules, or cannot be read; nothing was sent."""

    count: int
    """How many rows are invalid."""
    rows: Sequence[BadRow]
    """The first of them."""

    def __init__(self, count: int, rows: Sequence[BadRow]) -> None:
        shown = "; ".join(str(row) for row in rows)
        more = f"; and {count - len(rows)} more" if count > len(rows) else ""
        super().__init__(f"{count} rows are invalid, so nothing was sent: {shown}{more}")
        self.count = count
        self.rows = rows
