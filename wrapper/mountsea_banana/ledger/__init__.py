"""A durable record of what was submitted, so that a picture is paid for at most once.

Needs the `ledger` extra.
"""

from typing import TYPE_CHECKING, Any

from mountsea_banana._shared.extras import missing

from ._entries import Entry
from ._errors import CostLimitReached, InDoubt, KeyConflict, LedgerError

if TYPE_CHECKING:
    from ._ledger import Ledger

__all__ = ["CostLimitReached", "Entry", "InDoubt", "KeyConflict", "Ledger", "LedgerError"]

# With a module-level __getattr__, type checkers accept every name, even a misspelt one.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> Any:
        # SQLAlchemy takes longer to import than the rest, and the errors do without it.
        if name != "Ledger":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from ._ledger import Ledger
        except ImportError as error:
            raise ImportError(missing(error, "ledger"), name=error.name) from error
        globals()[name] = Ledger
        return Ledger
