"""The errors of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountsea_banana.client._errors import NanoBananaError, SubmissionUnknown

from ._entries import UNREPORTED

if TYPE_CHECKING:
    from ._entries import Entry, Order


class LedgerError(NanoBananaError):
    """The ledger cannot be opened, read or written."""


class KeyConflict(NanoBananaError):
    """The key belongs to another request, server or account; nothing was sent."""

    key: str
    """The key."""
    entry: Entry
    """What the ledger holds under the key."""

    def __init__(self, entry: Entry, order: Order) -> None:
        differences = entry.order.differences(order)
        shown = "; ".join(
            f"{name} {kept:.500} in the ledger, {given:.500} now"
            for name, (kept, given) in differences.items()
        )
        if differences.keys() == {"account"}:
            problem = (
                f"was submitted with another API key ({shown}), and its task belongs to that one's "
                "account. Use that one again, or call ledger.replace_api_key(old, new) if both are "
                "of the same account"
            )
        else:
            problem = f"is in use for something else ({shown}). Use another key for another picture"
        super().__init__(f"the key {entry.key!r} {problem}; nothing was sent")
        self.key = entry.key
        self.entry = entry


class KeyClaimed(LedgerError):
    """Another caller is submitting the key; nothing was sent."""

    entry: Entry
    """What the ledger holds under the key."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"another caller is submitting the key {entry.key!r}; nothing was sent")
        self.entry = entry


class CostLimitReached(NanoBananaError):
    """The ledger already holds as many charged submissions as allowed; nothing was sent."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the ledger already holds {limit} submissions that were or may have been charged, "
            "which is the limit; nothing was sent"
        )


class InDoubt(SubmissionUnknown):
    """The key's submission may have been charged, and its task is not known.

    It is never resent by itself. Check your account, then call `ledger.settle(key, task_id=…)` if
    it created a task, or `ledger.release(key)` if it did not.
    """

    key: str
    """The key."""
    entry: Entry
    """What the ledger holds under the key."""

    def __init__(self, entry: Entry) -> None:
        # An entry without a reason is one whose end has passed, but not by a clock set back.
        reason = entry.reason or UNREPORTED
        super().__init__(
            f"the submission for the key {entry.key!r}, started at "
            f"{entry.claimed_at:%Y-%m-%d %H:%M:%S} UTC, is in doubt: {reason}. It is not sent "
            "again: if your account shows its task, settle the key with the task id; if not, "
            "release the key"
        )
        self.key = entry.key
        self.entry = entry
