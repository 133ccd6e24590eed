"""What a flow can ask its driver to do: requests, downloads, function calls and pauses.

A flow is a generator: it yields steps, is sent their outcomes, and returns a result or raises a
documented error. The synchronous and the asynchronous client drive the same flows, so no decision
is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from attrs import frozen

from ._exchange import Exchange
from ._requests import APIRequest
from ._snapshots import TaskSnapshot

T = TypeVar("T")


@frozen
class Send:
    """Send a request to the API; the outcome is an `APIResponse` or a `Failure`."""

    request: APIRequest
    exchange: Exchange
    """Notes what happens to the request, so that an interrupted flow knows as well."""
    timeout: float | None
    """Seconds for the whole exchange; None for the client's own limit."""


@frozen
class Download:
    """Request a public URL without credentials; the outcome is a `RawResponse` or a `Failure`."""

    method: str
    url: str
    headers: Mapping[str, str]
    max_bytes: int
    timeout: float
    """Seconds for the whole exchange."""


@frozen
class DownloadAll:
    """Perform downloads side by side; the outcome is the list of their outcomes."""

    downloads: Sequence[Download]


@frozen
class Call:
    """Call a function that may block, to its end even if the flow is cancelled meanwhile.

    The outcome is what the function returns; the flow gets the exception that it raises.
    """

    function: Callable[[], object]


@frozen
class Sleep:
    """Wait for a number of seconds."""

    seconds: float


@frozen
class Notify:
    """Pass a snapshot to the caller's `on_update`."""

    snapshot: TaskSnapshot


Step = Send | Download | DownloadAll | Call | Sleep | Notify
Flow = Generator[Step, Any, T]
