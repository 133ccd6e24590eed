"""Many pictures from a list of requests, each paid for at most once.

Needs the `ledger` extra.
"""

from ._errors import InvalidRows, UnreadableRows
from ._outcomes import Outcome, Paused, Report, Submitted
from ._rows import BadRow, Row
from ._run import run, run_async
from ._run_row import run_row
from ._worklist import Worklist, read, rows

__all__ = [
    "BadRow",
    "InvalidRows",
    "Outcome",
    "Paused",
    "Report",
    "Row",
    "Submitted",
    "UnreadableRows",
    "Worklist",
    "read",
    "rows",
    "run",
    "run_async",
    "run_row",
]
