"""The ledger's database. Each function is one transaction: it has happened, or it has not."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from mountsea_banana._shared.clock import Clock
from mountsea_banana._shared.extras import missing
from mountsea_banana._shared.text import encodable
from mountsea_banana.client._errors import ConfigurationError, text_of
from mountsea_banana.client._snapshots import TaskSnapshot

from . import _forks, _location, _schema
from ._entries import Entry, Order, State
from ._errors import CostLimitReached, LedgerError
from ._statements import ADVISORY_LOCK, Statements
from ._transactions import Transactions

T = TypeVar("T")

LOCK_SECONDS = 10.0
"""How long to wait for another process that writes to the ledger, or for a connection."""


class Store:
    """A ledger's database. Threads may share it. Every method raises LedgerError."""

    def __init__(self, location: str | os.PathLike[str], clock: Clock) -> None:
        url = _location.parse(location)
        self._pid = os.getpid()
        self._is_sqlite = url.get_backend_name() == "sqlite"
        if self._is_sqlite:
            self.name = url.database or ""
            with _forks.using():  # also while the driver is imported
                self._file = _location.create_file(Path(self.name))
                self._engine = sql.create_engine(url, connect_args={"timeout": LOCK_SECONDS})
            event.listen(self._engine, "connect", partial(_prepare_sqlite, clock=clock))
            event.listen(self._engine, "begin", _begin_sqlite)
            _forks.close_before_forks(self._engine, str(Path(self.name).resolve()))
        else:
            shown = url.difference_update_query(["password", "sslpassword"])
            self.name = shown.render_as_string(hide_password=True)
            try:
                from . import _postgresql

                self._engine = _postgresql.create_engine(url, lock_seconds=LOCK_SECONDS)
            except ImportError as error:  # sqlalchemy alone is part of another extra
                raise ConfigurationError(missing(error, "ledger")) from error
        self._statements = Statements(is_sqlite=self._is_sqlite)
        self._transactions = Transactions(self._begin)
        self._unused: set[str] = set()
        """Claims that may have been committed although the ledger failed; nobody submits them."""
        self.unrecorded: dict[str, tuple[Entry, str]] = {}
        """Submissions whose tasks could not be recorded so far, by their claims."""
        try:
            self._write(self._migrate)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def joining_writes(self, seconds: float) -> Iterator[None]:
        """Let every write wait some seconds for others that can share its commit.

        On a disk, a commit costs more than all the rest.
        """
        self._transactions.pause = seconds
        try:
            yield
        finally:
            self._transactions.pause = 0.0

    def close(self) -> None:
        """Close the connections."""
        is_own = os.getpid() == self._pid
        if not self._is_sqlite or not is_own:
            self._engine.dispose(close=is_own)
            return
        with _forks.using():
            _forks.close(self._engine)

    def find(self, key: str) -> Entry | None:
        """Return the latest submission of a key."""
        return self._read(lambda connection: self._latest(connection, key))

    def find_task(self, task_id: str) -> Entry | None:
        """Return the submission that created a task."""
        row = {"of_task": task_id}
        found = self._read(lambda c: _entries(c.execute(self._statements.of_task, row)))
        return found[-1] if found else None

    def claim(
        self,
        order: Order,
        claim: str,
        *,
        seconds: float,
        retry_failed: bool,
        max_cost: int | None,
    ) -> Entry:
        """Claim a key for `seconds` if it is free; return its latest submission, old or new.

        It is free if it has no submission, if the latest was released, or, with `retry_failed`,
        if its task failed. Raises CostLimitReached instead of making more than `max_cost`
        submissions.
        """
        if self._is_sqlite:
            self._check_file()
        unused = list(self._unused)

        def insert(connection: Connection) -> Entry:
            for each in unused:
                connection.execute(self._statements.free, {"of_claim": each})
            latest = self._latest(connection, order.key)
            if latest and not is_free(latest, retry_failed=retry_failed):
                return latest
            if latest and latest.state != "released" and latest.order.differences(order):
                return latest  # only a released key may be used for something else
            if max_cost is not None and self._reaches(connection, max_cost):
                raise CostLimitReached(max_cost)
            row = {
                "key": order.key,
                "attempt": latest.attempt + 1 if latest else 1,
                "claim": claim,
                "state": "claimed",
                "request": order.request,
                "fingerprint": order.fingerprint,
                "base_url": order.base_url,
                "account": order.account,
                "seconds": seconds,
            }
            return _entries(connection.execute(self._statements.claim, row))[0]

        while True:
            try:
                entry = self._write(insert)
            except LedgerError as error:
                # Another process was faster, which only PostgreSQL lets happen.
                if not isinstance(error.__cause__, IntegrityError):  # pragma: no branch
                    self._unused.add(claim)
                    raise
            else:
                self._unused.difference_update(unused)
                return entry

    def read(self, claim: str) -> Entry | None:
        """Return the submission of a claim."""
        return self._read(lambda connection: self._of_claim(connection, claim))

    def accept(self, entry: Entry, task_id: str) -> None:
        """Record the task that a submission created, whatever was known of it before."""
        self.unrecorded[entry.claim] = entry, task_id
        row = {"of_claim": entry.claim, "task_id": task_id}
        if not self._write(lambda c: c.execute(self._statements.accept, row).rowcount):
            raise LedgerError(f"the ledger {self.name!r} no longer has the submission")
        self.unrecorded.pop(entry.claim, None)

    def unrecorded_task(self, key: str) -> str | None:
        """Return the task of a key's submission if it could not be recorded so far."""
        found = (task_id for entry, task_id in self.unrecorded.values() if entry.key == key)
        return next(found, None)

    def accept_unrecorded(self) -> None:
        """Record the tasks that could not be recorded when they were created."""
        for entry, task_id in list(self.unrecorded.values()):
            self.accept(entry, task_id)

    def doubt(self, claim: str, reason: str) -> Entry | None:
        """Record that a submission may have been charged, unless its task is known by now."""

        def update(connection: Connection) -> Entry | None:
            row = {"of_claim": claim, "reason": _clean(reason)}
            connection.execute(self._statements.doubt, row)
            return self._of_claim(connection, claim)

        return self._write(update)

    def free(self, claim: str) -> None:
        """Forget a submission that certainly was not accepted."""
        self._write(lambda c: c.execute(self._statements.free, {"of_claim": claim}))

    def settle(self, key: str, task_id: str) -> Entry:
        """Record the task of a submission that is in doubt, as a person found it."""

        def update(connection: Connection) -> Entry:
            entry = self._in_doubt(connection, key)
            row = {"state": "accepted", "task_id": task_id, "reason": None}
            connection.execute(self._statements.update, {"of_claim": entry.claim, **row})
            return self._latest(connection, key) or entry

        return self._write(update)

    def release(self, key: str) -> None:
        """Free a key that is in doubt, as a person found that it was not charged."""

        def update(connection: Connection) -> None:
            entry = self._in_doubt(connection, key)
            if entry.remaining:
                raise LedgerError(
                    f"the key {key!r} cannot be released before {entry.ends_at:%H:%M:%S} UTC: the "
                    "response may still arrive until then"
                )
            row = {"of_claim": entry.claim, "state": "released"}
            connection.execute(self._statements.update, row)

        self._write(update)

    def replace_account(self, old: str, new: str) -> int:
        """Replace an account by another one; return the number of submissions."""
        row = {"of_account": old, "account": new}

        def update(connection: Connection) -> int:
            count = 0
            while updated := connection.execute(self._statements.replace_account, row).rowcount:
                count += updated
            return count

        count = self._write(update)
        if not count:
            raise LedgerError(f"the ledger {self.name!r} has no submission with the old API key")
        return count

    def keep_result(self, claim: str, snapshot: TaskSnapshot) -> None:
        """Record the final state of a submission's task."""
        self._update(claim, status=snapshot.status, result=json.dumps(snapshot.raw))

    def keep_file(self, claim: str, file: Path, size: int) -> None:
        """Record the file that an image is saved to."""
        self._update(claim, file=str(file), file_size=size)

    def entries(self, state: State | None, *, newest_first: bool) -> Iterator[Entry]:
        """Yield every submission, or those in a state, from the oldest to the newest or back."""
        query = self._statements.newest_first if newest_first else self._statements.oldest_first
        with (
            self._errors(),
            self._connect() as connection,
            connection.execute(query, execution_options={"yield_per": 500}) as result,
        ):
            for row in result.mappings():
                entry = Entry.of(row, now=row["now"])
                if state in (None, entry.state):
                    yield entry

    def charges(self) -> int:
        """Return how many submissions were or may have been charged."""
        return self._read(lambda c: c.execute(self._statements.charges).scalar_one())

    def back_up(self, file: Path) -> None:
        """Copy the ledger into a new file, while other processes use it."""
        if not self._is_sqlite:
            raise LedgerError("a ledger on a PostgreSQL server is backed up with pg_dump")
        if file.exists():
            raise LedgerError(f"the backup {str(file)!r} exists: pass a new file")
        _location.create_file(file)
        try:
            with (
                _forks.using(),
                contextlib.closing(sqlite3.connect(self.name)) as source,
                contextlib.closing(sqlite3.connect(file)) as target,
            ):
                source.backup(target)
        except sqlite3.Error as error:
            file.unlink(missing_ok=True)
            raise LedgerError(f"the backup {str(file)!r} could not be written: {error}") from error

    def _migrate(self, connection: Connection) -> None:
        if not self._is_sqlite:
            connection.execute(ADVISORY_LOCK)
        _schema.migrate(connection)

    def _latest(self, connection: Connection, key: str) -> Entry | None:
        found = _entries(connection.execute(self._statements.latest, {"of_key": key}))
        return found[0] if found else None

    def _of_claim(self, connection: Connection, claim: str) -> Entry | None:
        found = _entries(connection.execute(self._statements.of_claim, {"of_claim": claim}))
        return found[0] if found else None

    def _in_doubt(self, connection: Connection, key: str) -> Entry:
        # Locked, as a task id may arrive meanwhile.
        found = _entries(connection.execute(self._statements.locked, {"of_key": key}))
        if not found:
            raise LedgerError(f"the ledger {self.name!r} has no key {key!r}")
        for entry in found:  # a submission from before a release can be in doubt as well
            if entry.state == "in doubt":
                return entry
        raise LedgerError(f"the key {key!r} is not in doubt: it is {found[0].state}")

    def _reaches(self, connection: Connection, limit: int) -> bool:
        """Return whether the ledger has `limit` submissions that were or may have been charged."""
        if not self._is_sqlite:  # SQLite has a single writer anyway
            connection.execute(ADVISORY_LOCK)
        found = connection.execute(self._statements.charged, {"at_most": limit}).all()
        return len(found) >= limit

    def _update(self, claim: str, **values: object) -> bool:
        row = {"of_claim": claim, **values}
        return bool(self._write(lambda c: c.execute(self._statements.update, row).rowcount))

    def _read(self, operation: Callable[[Connection], T]) -> T:
        with self._no_fork(), self._errors(), self._connect() as connection:
            return operation(connection)

    def _write(self, operation: Callable[[Connection], T]) -> T:
        self._check_process()  # before the lock, which a thread of the parent may hold for ever
        if self._is_sqlite:
            with _forks.using():
                return self._transactions.perform(operation)
        try:
            with self._begin() as connection:
                return operation(connection)
        except LedgerError as error:
            if not getattr(error.__cause__, "connection_invalidated", False):
                raise
        # The connection broke, and the server may have committed. A claim or a task id that is
        # written again is the same, so write it again.
        with self._begin() as connection:
            return operation(connection)

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self._errors(), self._connect(writes=True) as connection, connection.begin():
            yield connection

    def _connect(self, *, writes: bool = False) -> Connection:
        self._check_process()
        with self._no_fork():
            return self._engine.connect().execution_options(writes=writes)

    def _check_file(self) -> None:
        """Raise LedgerError if the file was moved, deleted or replaced.

        SQLite would go on writing to the old file, which nobody reads who opens the ledger later.
        """
        try:
            is_same = os.path.samestat(self._file, Path(self.name).stat())
        except OSError:
            is_same = False
        if not is_same:
            raise LedgerError(
                f"the ledger {self.name!r} was moved, deleted or replaced while it was in use: put "
                "it back, and open it again; nothing was sent"
            )

    def _no_fork(self) -> AbstractContextManager[None]:
        """Keep forks away from SQLite. A server's connections need no locks of this process."""
        return _forks.using() if self._is_sqlite else contextlib.nullcontext()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ConfigurationError(
                "this ledger was opened before a fork: open one in each process"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ValueError) as error:  # ValueError: a text that it cannot store
            cause = getattr(error, "orig", None) or error
            reason = " ".join(text_of(cause).split())
            raise LedgerError(f"the ledger {self.name!r} cannot be used: {reason}") from error


def is_free(entry: Entry, *, retry_failed: bool) -> bool:
    """Return whether a key with this latest submission may be submitted."""
    return entry.state == "released" or (retry_failed and entry.is_failed)


def _entries(rows: sql.CursorResult[Any]) -> list[Entry]:
    return [Entry.of(row, now=row["now"]) for row in rows.mappings()]


def _prepare_sqlite(connection: Any, _: object, *, clock: Clock) -> None:
    connection.isolation_level = None  # SQLAlchemy begins the transactions
    connection.create_function("wall", 0, clock.wall)
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")  # a commit survives a power failure
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Let readers and a writer work side by side, from the first connection to a new file on."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait for a process that opens the new file at the same moment.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that starts with a read cannot wait for the lock once it writes.
    writes = connection.get_execution_options()["writes"]
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _clean(text: str) -> str:
    """Return a text that every database can store."""
    return encodable(text.replace("\0", "\ufffd"))[:2000]
