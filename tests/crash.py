"""A process that is killed at every point of a submission through a ledger, one after another.

`python -m tests.crash URL LOCATION` makes one submission after another, each in a process of its
own that kills itself one point later than the process before. It prints the keys, one a line, and
ends with the first process that survives. A point is before, within and after each transaction of
the ledger, and each step of the exchange that httpcore reports.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import httpx
import mountsea_api.api.gemini.api_public_controller_nano_image  # noqa: F401 - loaded once
import psycopg  # noqa: F401 - likewise
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite  # noqa: F401
from mountsea_banana import NanoBanana
from mountsea_banana.client._exchange import Exchange
from mountsea_banana.ledger import Ledger
from mountsea_banana.ledger._store import Store
from sqlalchemy import event

MAX_POINTS = 100


# Created once, because it takes longer than a submission.
_TLS = httpx.create_ssl_context()


class Points:
    """Counts the points of a submission, and kills the process at one of them."""

    def __init__(self, fatal: int) -> None:
        self._left = fatal

    def reach(self, *_: object) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def surround(self, owner: Any, name: str) -> None:
        """Make points of the moments before and after each call of a method."""
        method: Callable[..., Any] = getattr(owner, name)

        def surrounded(*arguments: Any, **options: Any) -> Any:
            self.reach()
            result = method(*arguments, **options)
            self.reach()
            return result

        setattr(owner, name, surrounded)


def submit(url: str, location: str, key: str, points: Points) -> None:
    """Make one submission."""
    with (
        Ledger(location) as ledger,
        httpx.Client(verify=_TLS) as http,
        NanoBanana("test-token", base_url=url, http_client=http) as banana,
    ):
        points.surround(Store, "_write")
        points.surround(Exchange, "trace")
        event.listen(ledger._store._engine, "commit", points.reach)
        ledger.once(key, banana).generate(key)


def main(url: str, location: str) -> int:
    """Kill one process at each point; return 1 if that does not come to an end."""
    for number in range(MAX_POINTS):
        key = f"point {number}"
        child = os.fork()
        if child == 0:
            submit(url, location, key, Points(number))
            os._exit(0)
        print(key, flush=True)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            return os.waitstatus_to_exitcode(status)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
