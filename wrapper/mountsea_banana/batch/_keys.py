"""The keys of rows, and the names of their files."""

from __future__ import annotations

import hashlib
import re
import sqlite3

from ._rows import Draft

# Names that Windows reserves for devices, with any suffix.
_DEVICES = re.compile(r"con|prn|aux|nul|com\d|lpt\d")
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_HASHED_NAME = re.compile(r".*_[0-9a-f]{16}")


class Keys:
    """Gives every row its key. What was seen is kept in a database, so that memory stays flat."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE seen (content BLOB PRIMARY KEY, count INT) WITHOUT ROWID")
        database.execute(
            "CREATE TABLE keys (key TEXT PRIMARY KEY, content BLOB, number INT) WITHOUT ROWID"
        )

    def derive(self, draft: Draft) -> str:
        """Return the key of a row without one: the same however other rows are added or sorted.

        Identical rows are counted, as each is a picture of its own.
        """
        self._database.execute(
            "INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            [draft.digest],
        )
        query = "SELECT count FROM seen WHERE content = ?"
        (ordinal,) = self._database.execute(query, [draft.digest]).fetchone()
        # If this changed, rows that are in a ledger would be paid for again.
        key = f"{slug(draft.prompt)}-{draft.digest[:8].hex()}".lstrip("-")
        return key if ordinal == 1 else f"{key}-{ordinal}"

    def claim(self, key: str, draft: Draft, number: int) -> int | None:
        """Note that a row has a key; return the number of the row that has it already.

        Returns 0 if that row has the same request.
        """
        query = "SELECT content, number FROM keys WHERE key = ?"
        found = self._database.execute(query, [key]).fetchone()
        if found is None:
            self._database.execute("INSERT INTO keys VALUES (?, ?, ?)", [key, draft.digest, number])
            return None
        return 0 if found[0] == draft.digest else int(found[1])


def file_name(key: str) -> str:
    """Return the name of a key's file, without a suffix: safe and unique on every file system.

    A key of lower-case ASCII letters, digits, `_` and `-` is the name. Any other gets a hash.
    """
    is_safe = _SAFE_NAME.fullmatch(key) and not _DEVICES.fullmatch(key)
    if is_safe and not _HASHED_NAME.fullmatch(key):
        return key
    stem = re.sub(r"\.(?:avif|gif|jpe?g|png|webp)$", "", key, flags=re.IGNORECASE)
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", stem)[:80].strip("_-") or "image"
    return f"{stem}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def slug(prompt: str) -> str:
    """Return the first words of a prompt, for people who read the names of files."""
    words = "-".join(re.findall(r"[a-z0-9]+", prompt[:200].lower()))
    if len(words) > 40:
        words = words[:41].rpartition("-")[0] or words[:40]
    return words
