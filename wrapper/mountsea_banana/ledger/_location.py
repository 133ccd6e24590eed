"""Where a ledger is stored: a file for SQLite, or a PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from ._errors import LedgerError

# Their locks do not work between machines, or not at all: https://www.sqlite.org/wal.html
_NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "ceph-fuse", "cifs", "gcsfuse", "glusterfs", "gpfs", "juicefs"}
    | {"lustre", "mfs", "ncpfs", "nfs", "nfs4", "orangefs", "rclone", "s3fs", "smb2", "smb3"}
    | {"smbfs", "sshfs", "vboxsf", "virtiofs"}
)

_MOUNTS = Path("/proc/self/mounts")

_creating = threading.Lock()


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


def create_file(path: Path) -> os.stat_result:
    """Create an empty file that only its owner can read, unless it exists; return its status.

    Raises LedgerError.
    """
    try:
        file, mounts = path.resolve(), _mounts()
        kind = _file_system(file.parent, mounts)
        if kind in _NETWORK_FILE_SYSTEMS:
            raise LedgerError(
                f"the ledger {str(path)!r} is on a network file system ({kind}), which SQLite "
                "cannot lock dependably: use a local disk, or a postgresql:// URL"
            )
        is_mounted = any(file == mount for mount, _ in mounts)
        if is_mounted or (file.is_file() and file.stat().st_nlink > 1):
            raise LedgerError(
                f"the ledger {str(path)!r} is a mounted file or has a hard link, and SQLite would "
                "lose what is written under its other name: mount its folder, or copy the file"
            )
        # A file that exists may be open. To close it again would release SQLite's locks, which
        # belong to the process (https://www.sqlite.org/howtocorrupt.html, 2.2).
        with _creating, contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return file.stat()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise LedgerError(
            f"the ledger {str(path)!r} cannot be opened for writing: {error}"
        ) from error


def _mounts() -> list[tuple[Path, str]]:
    """Return where file systems are mounted and their types; nothing if the system does not say."""
    try:
        lines = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:  # not Linux
        return []
    return [
        (Path(mount.replace("\\040", " ")), kind) for _, mount, kind, *_ in map(str.split, lines)
    ]


def _file_system(folder: Path, mounts: list[tuple[Path, str]]) -> str | None:
    """Return the type of the file system of a folder, if the system says it."""
    found = [(mount, kind) for mount, kind in mounts if folder.is_relative_to(mount)]
    found.reverse()  # of two mounts on one folder, the later one counts
    kind = max(found, key=lambda each: len(each[0].parts))[1] if found else None
    return kind and kind.removeprefix("fuse.")
