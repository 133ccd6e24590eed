"""A response that violates the contract."""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import field, frozen

from ._case import Case
from ._transport import Response
from ._verify import Violation


@frozen
class Failure:
    """One response that violates the contract."""

    case: Case
    response: Response
    violation: Violation
    task: str = ""
    """The id of the task in the request, if any."""
    received_at: str = field(factory=lambda: datetime.now(UTC).isoformat())
    """When the response was received."""

    @property
    def size(self) -> tuple[int, str]:
        """How small its request is, to show the smallest of several first."""
        request = self.case.request
        return len(request.body or b"") + len(request.target), str(request.body)
