"""The ledger of the command line: where it is, and what to do about a key that is in doubt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mountsea_banana import ConfigurationError
from mountsea_banana._shared.extras import missing
from mountsea_banana.ledger import LedgerError

from ._failures import release, settle
from ._screen import Screen

if TYPE_CHECKING:
    from mountsea_banana.ledger import Entry, Ledger


def open_ledger(location: str | None) -> Ledger:
    """Open a ledger; create it if it is missing. None is the user's own.

    Raises LedgerError, or ConfigurationError if a library is missing.
    """
    place = _given(location)
    try:
        from mountsea_banana.ledger import Ledger

        return Ledger(place or _create_folder(_default()))
    except ImportError as error:
        raise ConfigurationError(missing(error, "cli")) from error


def open_existing(location: str | None) -> Ledger | None:
    """Open a ledger; return None if its file does not exist yet. Raises as `open_ledger` does."""
    place = _given(location)
    is_file = place is None or "://" not in place
    if is_file and not Path(place or _default()).exists():
        return None
    return open_ledger(location)


def option(location: str | None) -> list[str]:
    """Return the words that name a ledger in a command."""
    return ["--ledger", location] if location else []


def explain_doubt(entry: Entry) -> list[str]:
    """Return why a key is in doubt, or will be, and from when on it can be released."""
    end = f"{entry.ends_at.astimezone():%H:%M:%S}"
    if entry.state == "claimed":
        return [f"in doubt from {end} if its command no longer runs"]
    later = [f"can be released from {end}"] if entry.remaining else []
    return [entry.reason or "", *later]


def advise_to_settle(
    screen: Screen, key: str, location: str | None, task_id: str | None = None
) -> None:
    """Print the commands that settle and release a key."""
    screen.advise("if your account shows its task:" if task_id is None else "record its task:")
    screen.command(settle(key, task_id or "TASK_ID", *option(location)))
    if task_id is None:
        screen.advise("if it shows none:")
        screen.command(release(key, *option(location)))


def _given(location: str | None) -> str | None:
    return location or os.environ.get("MOUNTSEA_LEDGER") or None


def _default() -> Path:
    """Return the path of the user's own ledger. Raises ConfigurationError."""
    try:
        from platformdirs import user_data_path
    except ImportError as error:
        raise ConfigurationError(missing(error, "cli")) from error
    return user_data_path("mountsea-banana", appauthor=False) / "ledger.db"


def _create_folder(file: Path) -> Path:
    """Return a file after its folder was created, for its owner only. Raises LedgerError."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"the folder of the ledger could not be created: {error}") from error
    return file
