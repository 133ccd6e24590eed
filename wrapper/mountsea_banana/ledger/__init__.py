"""A durable record of what was submitted, so that a picture is paid for at most once.

Needs the `ledger` extra.
"""

from mountsea_banana._shared.extras import missing

from ._entries import Entry
from ._errors import CostLimitReached, InDoubt, KeyConflict, LedgerError

try:
    from ._ledger import Ledger
except ImportError as error:
    raise ImportError(missing(error, "ledger"), name=error.name) from error

__all__ = ["CostLimitReached", "Entry", "InDoubt", "KeyConflict", "Ledger", "LedgerError"]
