"""The rows of a batch and what came of each, in a temporary database, so that memory stays flat."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from mountsea_banana._shared.text import encodable

from ._errors import InvalidRows
from ._keys import Keys
from ._outcomes import STATES, Outcome, State
from ._reading import read as read_rows
from ._rows import BadRow, Draft, Row

MAX_SHOWN = 20
"""How many bad rows an error shows."""
_PAGE = 200


class Worklist:
    """The rows of a batch, each checked, and what came of each. Iterate over it for its rows.

    Close it after use, or use it in a `with` block.
    """

    def __init__(self, rows: Iterable[tuple[int, object]], *, skip_invalid: bool) -> None:
        # A private file that SQLite deletes when it is closed.
        # One thread at a time uses it, but not always the same.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE rows (number INTEGER PRIMARY KEY, key TEXT, request TEXT, prompt TEXT,"
            " state TEXT NOT NULL, task_id TEXT, path BLOB, error TEXT)"
        )
        self.bad_rows: list[BadRow] = []
        """The first of the invalid rows."""
        self._recorded: list[Outcome] = []
        try:
            self._load(rows)
            skipped = self.states["skipped"]
            if skipped and not skip_invalid:
                raise InvalidRows(skipped, self.bad_rows)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Delete the temporary database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of valid rows."""
        return self.states.total() - self.states["skipped"]

    def __iter__(self) -> Iterator[Row]:
        """Yield the valid rows, in their order."""
        return self._rows("state != 'skipped'")

    @property
    def states(self) -> Counter[str]:
        """How many rows are in each state."""
        self._flush()
        query = "SELECT state, count(*) FROM rows GROUP BY state"
        found = dict(self._database.execute(query).fetchall())
        return Counter({state: found[state] for state in STATES if state in found})

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what came of every row, in their order."""
        self._flush()
        query = "SELECT number, key, state, task_id, path, error, prompt FROM rows ORDER BY number"
        for number, key, state, task_id, path, error, prompt in self._database.execute(query):
            file = Path(os.fsdecode(path)) if path else None
            yield Outcome(number, key, state, task_id, file, error, prompt)

    def unfinished(self) -> Iterator[Row]:
        """Yield the rows without an image, in their order."""
        return self._rows("state NOT IN ('done', 'skipped')")

    def record(self, outcome: Outcome) -> None:
        """Record what came of a row."""
        self._recorded.append(outcome)
        if len(self._recorded) == _PAGE:
            self._flush()

    def _flush(self) -> None:
        # All at once, as an event loop with many threads waits long after each statement.
        self._database.executemany(
            "UPDATE rows SET state = ?, task_id = ?, path = ?, error = ? WHERE number = ?",
            [
                (
                    each.state,
                    each.task_id,
                    os.fsencode(each.path) if each.path else None,  # it may not be UTF-8
                    each.error and encodable(each.error),
                    each.number,
                )
                for each in self._recorded
            ],
        )
        self._recorded.clear()

    def _load(self, rows: Iterable[tuple[int, object]]) -> None:
        keys = Keys(self._database)
        self._database.execute("BEGIN")
        for number, fields in rows:
            draft = Draft.of(fields)
            problems = draft.problems
            if not problems:
                key = draft.key or keys.derive(draft)
                other = keys.claim(key, draft, number)
                if other == 0:
                    continue  # the same picture again
                if other is None:
                    self._insert(number, "not started", key, draft.request, draft.prompt, None)
                    continue
                problems = (f"has the key {key!r} of row {other}, whose request differs",)
            bad = BadRow(number, problems)
            if len(self.bad_rows) < MAX_SHOWN:
                self.bad_rows.append(bad)
            self._insert(number, "skipped", None, None, None, ", ".join(problems))
        self._database.execute("COMMIT")

    def _insert(self, number: int, state: State, *values: str | None) -> None:
        self._database.execute(
            "INSERT INTO rows (number, state, key, request, prompt, error)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [number, state, *values],
        )

    def _rows(self, condition: str) -> Iterator[Row]:
        # Page by page, as the states change meanwhile.
        self._flush()
        last = 0
        query = (
            f"SELECT number, key, request FROM rows WHERE number > ? AND {condition}"  # noqa: S608
            f" ORDER BY number LIMIT {_PAGE}"
        )
        while page := self._database.execute(query, [last]).fetchall():
            for number, key, request in page:
                yield Row(number, key, json.loads(request))
            last = page[-1][0]


def read(file: str | os.PathLike[str] | BinaryIO, *, skip_invalid: bool = False) -> Worklist:
    """Read the rows of a batch from JSON Lines or CSV, and check each.

    A row has the fields of a request body, and optionally a `key`. Raises UnreadableRows, and
    InvalidRows unless you `skip_invalid` rows.
    """
    return Worklist(read_rows(file), skip_invalid=skip_invalid)


def rows(items: Iterable[Mapping[str, object]], *, skip_invalid: bool = False) -> Worklist:
    """Check the rows of a batch that you have as mappings. The same as `read` otherwise."""
    return Worklist(enumerate(items, 1), skip_invalid=skip_invalid)
