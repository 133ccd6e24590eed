"""When to poll a task again, and when to stop: decisions without I/O."""

from __future__ import annotations

from . import _errors as errors

# The vendor advises polling every 3 to 5 s, and less often for long tasks.
PAUSES = (3.75, 5.0, 6.5, 8.0, 10.0)
MIN_INTERVAL = 0.1
"""Seconds; a shorter interval would only burden the server."""
MAX_INTERVAL = 86_400.0
"""Seconds: a day."""
# Seconds reserved for the last poll before the deadline.
LAST_POLL = 1.0

OPEN = frozenset({"pending", "ready", "assigned", "processing", "queued", "running"})
FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})


def pause(polls: int, jitter: float) -> float:
    """Return the seconds to the next poll, 3 to 10; `jitter` is at least 0 and less than 1."""
    return PAUSES[min(polls, len(PAUSES) - 1)] * (0.8 + jitter / 5)


def keeps_waiting(error: errors.NanoBananaError) -> bool:
    """Return whether to keep waiting after a failed poll: a 4xx other than 408 and 429 is final."""
    if isinstance(error, errors.APIStatusError):
        return not 400 <= error.status_code < 500 or error.status_code in (408, 429)
    return isinstance(error, errors.APIConnectionError | errors.UnexpectedResponse)
