"""What the ledger knows about a submission."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from attrs import field, frozen

from mountsea_banana.client._snapshots import TaskSnapshot
from mountsea_banana.rules._check import CheckedRequest

State = Literal["claimed", "accepted", "in doubt", "released"]

DAY = 24 * 3600.0
UNREPORTED = "the process that claimed it did not report an outcome"


@frozen
class Order:
    """What a caller wants: one picture, named by its key."""

    key: str
    request: str = field(repr=False)
    """The JSON of the request body."""
    fingerprint: str
    """A hash of the request body, whatever the order of its fields."""
    base_url: str
    account: str
    """A hash of the API key."""

    @classmethod
    def of(cls, key: str, checked: CheckedRequest, base_url: str, account: str) -> Self:
        """Return the order for a valid request."""
        # The number is the version of this recipe.
        fingerprint = "1:" + hashlib.sha256(checked.canonical).hexdigest()
        return cls(key, checked.content.decode(), fingerprint, base_url, account)

    def differences(self, other: Order) -> dict[str, tuple[str, str]]:
        """Return what another order has differently, as pairs of texts."""
        pairs = {
            "request": (self.request, other.request),
            "server": (self.base_url, other.base_url),
            "account": (self.account, other.account),
        }
        if self.fingerprint == other.fingerprint:
            del pairs["request"]
        return {name: both for name, both in pairs.items() if both[0] != both[1]}


@frozen
class Entry:
    """A submission in the ledger.

    A key has several if a person made a new attempt after a failed task, or released the key.
    """

    order: Order = field(repr=False)
    """What was submitted."""
    claim: str = field(repr=False)
    """A random text: the caller that has it may submit."""
    attempt: int
    """Counts the submissions of the key, from 1."""
    state: State
    """`claimed` while a process submits it, `accepted` once its task is known, `in doubt` if it may
    have been charged without a known task, `released` if a person said that it was not."""
    claimed_at: datetime
    """When a process claimed the key."""
    ends_at: datetime
    """When that process has given up, at the latest."""
    remaining: float = field(eq=False, repr=False)
    """The seconds until then, when this was read."""
    task_id: str | None
    """The task that it created."""
    reason: str | None
    """Why it is in doubt."""
    status: str | None
    """The task's final status, once a poll has returned it."""
    result: Mapping[str, Any] | None = field(hash=False, repr=False)
    """The response to that poll."""
    file: Path | None
    """The file that the image was saved to."""
    file_size: int | None
    """The size of the image in bytes."""

    @classmethod
    def of(cls, row: Mapping[Any, Any], now: float) -> Self:
        """Return the entry in a row of the database, at a time in seconds since the epoch."""
        state, reason = row["state"], row["reason"]
        seconds, ahead = row["ends_at"] - row["claimed_at"], row["claimed_at"] - now
        # The clock may have been set back. If it was ahead by more than a day, the claim would
        # last until a date that is far away.
        remaining = min(row["ends_at"] - now, seconds) if ahead < DAY else 0.0
        if state == "claimed" and (remaining <= 0 or ahead > seconds):
            state, reason = "in doubt", UNREPORTED
        return cls(
            order=Order(
                row["key"], row["request"], row["fingerprint"], row["base_url"], row["account"]
            ),
            claim=row["claim"],
            attempt=row["attempt"],
            state=state,
            claimed_at=datetime.fromtimestamp(row["claimed_at"], UTC),
            ends_at=datetime.fromtimestamp(row["ends_at"], UTC),
            remaining=max(0.0, remaining),
            task_id=row["task_id"],
            reason=reason,
            status=row["status"],
            result=row["result"] and json.loads(row["result"]),
            file=row["file"] and Path(row["file"]),
            file_size=row["file_size"],
        )

    @property
    def key(self) -> str:
        """The name of the picture."""
        return self.order.key

    @property
    def request(self) -> dict[str, Any]:
        """The request body."""
        body: dict[str, Any] = json.loads(self.order.request)
        return body

    @property
    def snapshot(self) -> TaskSnapshot | None:
        """The task in its final state; None until a poll has returned it."""
        if self.task_id is None or self.status is None or self.result is None:
            return None
        return TaskSnapshot(self.task_id, self.status, self.result)

    @property
    def image_urls(self) -> list[str]:
        """The URLs of the images; empty until the task is completed."""
        return self.snapshot.image_urls if self.snapshot else []

    @property
    def is_failed(self) -> bool:
        """Whether the task ended without an image."""
        return self.status not in (None, "completed")

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as a JSON object, with dates in ISO 8601."""
        return {
            "key": self.key,
            "attempt": self.attempt,
            "state": self.state,
            "task_id": self.task_id,
            "reason": self.reason,
            "status": self.status,
            "image_urls": self.image_urls,
            "file": self.file and str(self.file),
            "claimed_at": self.claimed_at.isoformat(),
            "ends_at": self.ends_at.isoformat(),
            "base_url": self.order.base_url,
            "request": self.request,
        }
