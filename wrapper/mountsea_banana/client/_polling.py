"""How a task is waited for: pure decisions."""

from __future__ import annotations

from . import _errors as errors

# The vendor advises a look every 3 to 5 s, and longer pauses for long tasks.
PAUSES = (3.75, 5.0, 6.5, 8.0, 10.0)
# Kept for the last look before the deadline.
LAST_LOOK = 1.0

OPEN = frozenset({"pending", "ready", "assigned", "processing", "queued", "running"})
FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})


def pause(looks: int, jitter: float) -> float:
    """Return the seconds between two looks, 3 to 10; `jitter` is from 0 up to 1."""
    return PAUSES[min(looks, len(PAUSES) - 1)] * (0.8 + jitter / 5)


def keeps_waiting(error: errors.NanoBananaError) -> bool:
    """Say whether waiting goes on after a look that failed.

    A 4xx will not get better, but for 408 and 429.
    """
    if isinstance(error, errors.APIStatusError):
        return not 400 <= error.status_code < 500 or error.status_code in (408, 429)
    return isinstance(error, errors.APIConnectionError | errors.UnexpectedResponse)
