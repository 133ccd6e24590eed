"""Forks: a child with its parent's SQLite connections believes that it holds their locks.

It would write to the file while others do (https://www.sqlite.org/howtocorrupt.html, 2.6).
"""

from __future__ import annotations

import os
import threading
import weakref

from sqlalchemy import Engine, QueuePool

from mountsea_banana.client._errors import ConfigurationError

_lock = threading.Lock()
_files: weakref.WeakKeyDictionary[Engine, str] = weakref.WeakKeyDictionary()
_in_use: set[str] = set()
"""Files that a thread used at the moment of a fork."""
_inherited: set[str] = set()
"""Those of them that this process has inherited."""


def close_before_forks(engine: Engine, file: str) -> None:
    """Close the idle connections of an engine to a file before each fork.

    The engine opens new ones as needed. Raises ConfigurationError if this process has inherited a
    connection to the file.
    """
    with _lock:
        if file in _inherited:  # pragma: no cover - it is tested, but not traced
            raise ConfigurationError(
                f"a thread used the ledger {file!r} when this process was forked, so it cannot be "
                'opened here: start processes with the method "spawn", or before the threads'
            )
        _files[engine] = file


def _before() -> None:
    _lock.acquire()
    for engine, file in _files.items():
        if isinstance(engine.pool, QueuePool) and engine.pool.checkedout():
            _in_use.add(file)
        engine.dispose()


def _after_in_parent() -> None:
    _in_use.clear()
    _lock.release()


def _after_in_child() -> None:  # pragma: no cover - it is tested, but not traced
    _inherited.update(_in_use)
    _after_in_parent()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
