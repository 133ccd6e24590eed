"""Operations of many threads in one transaction: each is performed once, or fails alone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mountsea_banana import ConfigurationError
from mountsea_banana.ledger import Ledger, LedgerError
from mountsea_banana.ledger._transactions import Transactions


class Database:
    """A database that is locked until the test unlocks it, and notes what it commits."""

    def __init__(self) -> None:
        self.committed: list[list[str]] = []
        self.is_reached = threading.Event()
        self.is_unlocked = threading.Event()
        self.transactions = Transactions(self.begin)

    @contextlib.contextmanager
    def begin(self) -> Iterator[Any]:
        self.is_reached.set()
        assert self.is_unlocked.wait(30)
        written: list[str] = []
        yield written
        self.committed.append(written)

    def perform_together(self, *operations: Callable[[Any], Any]) -> list[Future[Any]]:
        """Perform operations that all wait while the database is locked; the first one is alone."""
        with ThreadPoolExecutor(len(operations) + 1) as pool:
            pool.submit(self.transactions.perform, write("first"))
            assert self.is_reached.wait(30)
            futures = []
            for number, operation in enumerate(operations):
                futures.append(pool.submit(self.transactions.perform, operation))
                while len(self.transactions._waiting) <= number:
                    threading.Event().wait(0.001)
            self.is_unlocked.set()
        return futures


def write(text: str, error: BaseException | None = None) -> Callable[[Any], str]:
    """Return an operation that writes a text, or the first time raises an error instead."""
    errors = [error] if error else []

    def operation(written: Any) -> str:
        if errors:
            raise errors.pop() if isinstance(error, KeyboardInterrupt) else errors[0]
        written.append(text)
        return text.upper()

    return operation


def test_operations_that_wait_at_the_same_time_are_committed_together() -> None:
    database = Database()
    futures = database.perform_together(write("a"), write("b"), write("c"))
    assert [future.result() for future in futures] == ["A", "B", "C"]
    assert database.committed == [["first"], ["a", "b", "c"]]


def test_an_operation_that_changes_its_mind_does_not_disturb_the_others() -> None:
    database = Database()
    error = LedgerError("not in doubt")
    futures = database.perform_together(write("a"), write("b", error), write("c"))
    assert [futures[0].result(), futures[2].result()] == ["A", "C"]
    assert futures[1].exception() is error
    assert database.committed == [["first"], ["a", "c"]]


def test_an_operation_that_breaks_the_transaction_fails_alone() -> None:
    database = Database()
    error = ValueError("no text")
    futures = database.perform_together(write("a"), write("b", error), write("c"))
    assert [futures[0].result(), futures[2].result()] == ["A", "C"]
    assert futures[1].exception() is error
    assert database.committed == [["first"], ["a"], ["c"]]


def test_an_interrupt_of_one_thread_leaves_the_operations_of_the_others_to_them() -> None:
    database = Database()
    futures = database.perform_together(write("a", KeyboardInterrupt()), write("b"), write("c"))
    interrupted = [each for each in futures if isinstance(each.exception(), KeyboardInterrupt)]
    assert len(interrupted) == 1
    written = sorted(text for texts in database.committed for text in texts)
    done = sorted(future.result().lower() for future in futures if future not in interrupted)
    assert written == sorted(["first", *done])


def test_an_operation_whose_thread_is_interrupted_while_it_waits_is_never_performed() -> None:
    class Interrupting:
        def __enter__(self) -> None:
            raise KeyboardInterrupt

        def __exit__(self, *error: object) -> None:
            pass

    database = Database()
    database.is_unlocked.set()
    lock = database.transactions._lock
    database.transactions._lock = Interrupting()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        database.transactions.perform(write("never"))
    database.transactions._lock = lock
    assert database.transactions.perform(write("later")) == "LATER"
    assert database.committed == [["later"]]


def test_a_fork_during_a_transaction_does_not_hang_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / "pictures.db") as ledger, monkeypatch.context() as child:
        ledger._store._transactions._lock.acquire()  # by a thread that the child does not have
        child.setattr(os, "getpid", lambda: 1)
        with ThreadPoolExecutor(1) as pool:
            release = pool.submit(ledger.release, "cat")
            try:
                with pytest.raises(ConfigurationError, match="before a fork"):
                    release.result(10)
            finally:
                ledger._store._transactions._lock.release()
