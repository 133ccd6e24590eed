"""Forks: a child with its parent's SQLite connections believes that it holds their locks.

It would write to the file while others do (https://www.sqlite.org/howtocorrupt.html, 2.6). A fork
therefore waits until no thread uses a connection, and closes them all.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Engine, Pool, event

from mountsea_banana.client._errors import ConfigurationError

MAX_WAIT = 11.0
"""Seconds that a fork waits; an operation on a locked file takes up to 10."""

_condition = threading.Condition()
_local = threading.local()
_users = 0
"""How many threads use a connection."""
_is_forking = False

_files: weakref.WeakKeyDictionary[Engine, str] = weakref.WeakKeyDictionary()
_old_pools: weakref.WeakKeyDictionary[Pool, str] = weakref.WeakKeyDictionary()
"""Pools that an engine has replaced at a fork while a connection of theirs was in use."""
_in_use: Counter[str] = Counter()
"""How many connections to each file are in use."""
_inherited: set[str] = set()
"""Files with a connection in use that this process has inherited."""


@contextlib.contextmanager
def using() -> Iterator[None]:
    """Keep forks away while a thread opens, uses or closes connections."""
    global _users
    if getattr(_local, "is_using", False):
        yield
        return
    with _condition:
        _condition.wait_for(lambda: not _is_forking)
        _users += 1
        _local.is_using = True
    try:
        yield
    finally:
        with _condition:
            _users -= 1
            _local.is_using = False
            _condition.notify_all()


def close_before_forks(engine: Engine, file: str) -> None:
    """Close the connections of an engine to a file before each fork; it opens new ones as needed.

    Raises ConfigurationError if this process has inherited a connection to the file.
    """
    if file in _inherited:  # pragma: no cover - it is tested, but not traced
        raise ConfigurationError(
            f"a thread used the ledger {file!r} when this process was forked, so it cannot be "
            'opened here: start processes with the method "spawn", or before the threads'
        )

    def count(number: int) -> None:
        with _condition:
            _in_use[file] += number

    event.listen(engine, "checkout", lambda *_: count(1))
    event.listen(engine, "checkin", lambda *_: count(-1))
    with _condition:
        _files[engine] = file


def close(engine: Engine) -> None:
    """Close the connections of an engine, also those that were in use at a fork."""
    engine.dispose()
    with _condition:
        old_pools = [pool for pool, file in _old_pools.items() if file == _files[engine]]
    for pool in old_pools:
        pool.dispose()


def _before() -> None:
    global _is_forking
    _condition.acquire()
    _is_forking = True
    own = int(getattr(_local, "is_using", False))  # a signal handler may fork
    _condition.wait_for(lambda: _users <= own, MAX_WAIT)
    for engine, file in _files.items():
        if _in_use[file]:
            _old_pools[engine.pool] = file
        engine.dispose()


def _after_in_parent() -> None:
    global _is_forking
    _is_forking = False
    _condition.notify_all()
    _condition.release()


def _after_in_child() -> None:  # pragma: no cover - it is tested, but not traced
    global _condition, _local, _users, _is_forking
    _condition, _local, _users, _is_forking = threading.Condition(), threading.local(), 0, False
    _inherited.update(+_in_use)


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
