"""Many pictures from a list of requests, each paid for at most once.

Needs the `ledger` extra.
"""

from ._contact_sheet import write_contact_sheet
from ._errors import InvalidRows, UnreadableRows
from ._outcomes import Draining, Event, Outcome, Paused, Report, Submitted, Waiting
from ._results import write_results
from ._rows import BadRow, Row
from ._run import Options, count_unpaid, run, run_async
from ._run_row import run_row
from ._worklist import Worklist, read, rows

__all__ = [
    "BadRow",
    "Draining",
    "Event",
    "InvalidRows",
    "Options",
    "Outcome",
    "Paused",
    "Report",
    "Row",
    "Submitted",
    "UnreadableRows",
    "Waiting",
    "Worklist",
    "count_unpaid",
    "read",
    "rows",
    "run",
    "run_async",
    "run_row",
    "write_contact_sheet",
    "write_results",
]
