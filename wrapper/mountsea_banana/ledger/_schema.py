"""The tables of a ledger, and how older ones are brought up to date."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sql
from sqlalchemy import Column, Connection, Double, Integer, String, Table, Text

from ._errors import LedgerError

metadata = sql.MetaData()

submissions = Table(
    "submissions",
    metadata,
    Column("key", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("claim", String(32), nullable=False, unique=True),
    Column("state", String(10), nullable=False, index=True),
    Column("request", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("claimed_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("task_id", Text, index=True),
    Column("reason", Text),
    Column("status", Text),
    Column("result", Text),
    Column("file", Text),
    Column("file_size", Integer),
)
_version = Table("ledger_version", metadata, Column("version", Integer, nullable=False))


def _create(connection: Connection) -> None:
    submissions.create(connection)


# Each brings the tables from the version of its index to the next one.
MIGRATIONS: list[Callable[[Connection], None]] = [_create]


def migrate(connection: Connection) -> None:
    """Create the tables, or bring them up to date. Raises LedgerError for a newer ledger.

    The caller holds a lock against other processes that do the same.
    """
    _version.create(connection, checkfirst=True)
    version = connection.execute(sql.select(_version.c.version)).scalar() or 0
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"the ledger has version {version}, and this program knows only version "
            f"{len(MIGRATIONS)}: update mountsea-banana"
        )
    if version == len(MIGRATIONS):
        return
    for step in MIGRATIONS[version:]:
        step(connection)
    connection.execute(sql.delete(_version))
    connection.execute(sql.insert(_version), {"version": len(MIGRATIONS)})
