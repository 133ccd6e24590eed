"""What a server is started with."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Options:
    """The settings of a server."""

    output: Path
    """The folder for the images, and for the ledger of what was paid."""
    budget: int
    """How many submissions the ledger may hold that were or may have been charged."""
    wait: float
    """The seconds that a call waits for its image, at most."""
    base_url: str | None
    """The base URL of the API; None for the environment's."""
    allows_private_images: bool = False
    """Whether source images may be checked at private addresses, for tests."""

    @property
    def ledger(self) -> Path:
        """The ledger. It is hidden, so that deleting the images does not delete it."""
        return self.output / ".ledger.db"
