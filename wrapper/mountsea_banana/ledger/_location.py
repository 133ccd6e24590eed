"""Where a ledger is stored: a file for SQLite, or a PostgreSQL server."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from ._errors import LedgerError

# Their locks do not work between machines, or not at all: https://www.sqlite.org/wal.html
_NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"smb2", "smb3", "smbfs"}
)

_MOUNTS = Path("/proc/self/mounts")


def parse(location: str | os.PathLike[str]) -> sqlalchemy.URL:
    """Return the database's URL for a path or a `postgresql://` URL. Raises LedgerError."""
    text = os.fspath(location)
    if "://" not in text:
        return sqlalchemy.URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        url = sqlalchemy.make_url(text)
    except (ArgumentError, ValueError):
        raise LedgerError(
            "the ledger's URL is invalid: pass a path or a postgresql:// URL"
        ) from None
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise LedgerError(
            f"a ledger cannot be stored in {url.drivername}: pass a path or a postgresql:// URL"
        )
    return url.set(drivername="postgresql+psycopg")


def create_file(path: Path) -> None:
    """Create an empty file that only its owner can read, unless it exists. Raises LedgerError."""
    try:
        kind = _file_system(path.resolve().parent)
        if kind in _NETWORK_FILE_SYSTEMS:
            raise LedgerError(
                f"the ledger {str(path)!r} is on a network file system ({kind}), which SQLite "
                "cannot lock dependably: use a local disk, or a postgresql:// URL"
            )
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise LedgerError(
            f"the ledger {str(path)!r} cannot be opened for writing: {error}"
        ) from error


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system of a folder; None if the system does not say."""
    try:
        lines = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:  # not Linux
        return None
    mounts = [
        (Path(mount.replace("\\040", " ")), kind) for _, mount, kind, *_ in map(str.split, lines)
    ]
    found = [(mount, kind) for mount, kind in mounts if folder.is_relative_to(mount)]
    found.reverse()  # of two mounts on one folder, the later one counts
    return max(found, key=lambda each: len(each[0].parts))[1] if found else None
