"""One row by itself, for engines that run functions on other machines."""

from __future__ import annotations

import os
from pathlib import Path

from mountsea_banana.client import _errors as errors
from mountsea_banana.client._client import NanoBanana
from mountsea_banana.ledger._ledger import Ledger

from ._failures import is_fatal, is_refusal, may_be_charged, outcome_of
from ._keys import file_name
from ._outcomes import Outcome
from ._rows import Row


def run_row(
    row: Row,
    *,
    ledger: str | os.PathLike[str],
    output: str | os.PathLike[str],
    max_cost: int | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """Submit one row unless it is in the ledger, save its image, and return what came of it.

    It can be repeated, on any machine, and pays at most once. `ledger` is the path or URL of the
    ledger; the client is created from the environment. The other arguments are those of `run`.

    Raises what another attempt may change, so that your engine retries it: APIConnectionError,
    RateLimitError and ServerError; and what no row can change: ConfigurationError, LedgerError,
    CostLimitReached, AuthenticationError.
    """
    with NanoBanana() as client, Ledger(ledger) as opened:
        task_id = None
        once = opened.once(row.key, client, retry_failed=retry_failed, max_cost=max_cost)
        try:
            task = once.submit(row.request)
            task_id = task.id
            path = task.wait().save(Path(output) / file_name(row.key))
        except errors.NanoBananaError as error:
            if not task_id and (is_refusal(error) or is_fatal(error)) and not may_be_charged(error):
                raise
            return outcome_of(row, error, task_id)
    return Outcome(row.number, row.key, "done", task_id, path, prompt=row.request["prompt"])
