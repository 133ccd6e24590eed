"""The ledger's public face."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from mountsea_banana._shared.clock import Clock
from mountsea_banana._shared.text import is_utf8, shown
from mountsea_banana.client import _requests
from mountsea_banana.client._client import NanoBanana
from mountsea_banana.client._errors import ConfigurationError
from mountsea_banana.client._settings import (
    BearerAuth,
    check_api_key,
    check_count,
    reject_pickle,
)

from ._entries import Entry, State
from ._errors import InDoubt, LedgerError
from ._flows import Record
from ._once import Once, RecordedTask
from ._store import Store

if TYPE_CHECKING:
    from mountsea_banana.client._async_client import AsyncNanoBanana
    from mountsea_banana.client._async_tasks import AsyncTask
    from mountsea_banana.client._tasks import Task

    from ._async_once import AsyncOnce

MAX_KEY = 500
"""Characters; PostgreSQL can index up to about 2,700 bytes."""


class Ledger:
    """A durable record of submissions: a key that names a picture is paid for at most once.

    `location` is the path of an SQLite file, which is created if it is missing, or a
    `postgresql://` URL for a ledger that several machines share. The ledger contains your prompts
    and image URLs, and never the API key. Threads may share a ledger; a process that forks must
    open its own. `clock` replaces the system's time in tests.

    Raises LedgerError if the ledger cannot be opened, is on a network file system, or was written
    by a newer version.
    """

    def __init__(self, location: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self._store = Store(location, Clock() if clock is None else clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the database."""
        self._store.close()

    @property
    def location(self) -> str:
        """The path of the file, or the URL without its password."""
        return self._store.name

    @overload
    def once(
        self,
        key: str,
        client: NanoBanana,
        *,
        retry_failed: bool = False,
        max_cost: int | None = None,
    ) -> Once: ...
    @overload
    def once(
        self,
        key: str,
        client: AsyncNanoBanana,
        *,
        retry_failed: bool = False,
        max_cost: int | None = None,
    ) -> AsyncOnce: ...
    def once(
        self,
        key: str,
        client: NanoBanana | AsyncNanoBanana,
        *,
        retry_failed: bool = False,
        max_cost: int | None = None,
    ) -> Once | AsyncOnce:
        """Return an object with the `generate`, `edit` and `submit` of `client`, for one picture.

        The first call with a `key` submits the request. Every later call, from any process, returns
        the same task and sends nothing; a final result and a saved file are kept as well. A call
        that finds another caller submitting waits for its task. `key` has 1 to 500 characters.

        With `retry_failed`, a key whose task failed is submitted again, and charged again.
        `max_cost` is how many submissions the ledger may hold that were or may have been charged.

        The calls raise what those of `client` raise, and InDoubt if the key may have been charged
        without a known task, KeyConflict if it belongs to another request or account,
        CostLimitReached, and LedgerError. Only InDoubt, and a LedgerError with a `task_id`, mean
        that something may have been charged. Raises ConfigurationError for an unusable argument.
        """
        check_key(key)
        if max_cost is not None:
            check_count("max_cost", max_cost)
        if isinstance(client, NanoBanana):
            return Once(
                self._store, key, client._driver, retry_failed=retry_failed, max_cost=max_cost
            )
        from ._async_once import AsyncOnce

        return AsyncOnce(
            self._store, key, client._driver, retry_failed=retry_failed, max_cost=max_cost
        )

    def find(self, key: str) -> Entry | None:
        """Return the latest submission of a key; None if there is none."""
        return self._store.find(check_key(key))

    def find_task(self, task_id: str) -> Entry | None:
        """Return the submission that created a task; None if there is none."""
        return self._store.find_task(_requests.check_task_id(task_id))

    @overload
    def task(self, entry: Entry, client: NanoBanana) -> Task: ...
    @overload
    def task(self, entry: Entry, client: AsyncNanoBanana) -> AsyncTask: ...
    def task(self, entry: Entry, client: NanoBanana | AsyncNanoBanana) -> Task | AsyncTask:
        """Return the task of a submission, free of charge. Its result and file are kept.

        Raises InDoubt if the task is not known, and LedgerError if there is none.
        """
        if entry.state == "in doubt":
            raise InDoubt(entry)
        if entry.task_id is None:
            raise LedgerError(f"the key {entry.key!r} has no task: it is {entry.state}")
        record = Record.of(entry, self._store, client._driver.settings)
        if isinstance(client, NanoBanana):
            return RecordedTask(client._driver, record)
        from ._async_once import AsyncRecordedTask

        return AsyncRecordedTask(client._driver, record)

    def entries(self, state: State | None = None, *, newest_first: bool = False) -> Iterator[Entry]:
        """Yield every submission, or those in a state, from the oldest to the newest or back."""
        return self._store.entries(state, newest_first=newest_first)

    def charges(self) -> int:
        """Return how many submissions were or may have been charged."""
        return self._store.charges()

    def settle(self, key: str, *, task_id: str) -> Entry:
        """Record the task of a key that is in doubt, if your account shows that it was created.

        Raises LedgerError if the key is not in doubt.
        """
        return self._store.settle(check_key(key), _requests.check_task_id(task_id))

    def release(self, key: str) -> None:
        """Free a key that is in doubt, if your account shows no task: the next call pays.

        Raises LedgerError if the key is not in doubt, or if its response may still arrive.
        """
        self._store.release(check_key(key))

    def replace_api_key(self, old: str, new: str) -> int:
        """Let what was submitted with an API key belong to another one of the same account.

        Returns the number of submissions. Raises LedgerError if there are none, and
        ConfigurationError if one of the two cannot be an API key, or if they are the same.
        """
        accounts = [BearerAuth(check_api_key(each)).fingerprint for each in (old, new)]
        if accounts[0] == accounts[1]:
            raise ConfigurationError("the old and the new API key are the same")
        return self._store.replace_account(*accounts)

    def back_up(self, file: str | os.PathLike[str]) -> None:
        """Copy the ledger into a new SQLite file, while other processes use it.

        Raises LedgerError if the file exists, or the ledger is on a PostgreSQL server.
        """
        self._store.back_up(Path(file))

    def __repr__(self) -> str:
        return f"Ledger({self._store.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        reject_pickle(self)


def check_key(key: object) -> str:
    """Return a key. Raises ConfigurationError if it cannot be one."""
    if isinstance(key, str) and 0 < len(key) <= MAX_KEY and "\0" not in key and is_utf8(key):
        return key
    raise ConfigurationError(
        f"a key must be a string of 1 to {MAX_KEY} characters, without NUL, not {shown(key)}"
    )
