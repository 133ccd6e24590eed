"""A row of a batch: one request, checked, and the key of its picture."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from mountsea_banana._shared.text import is_blank, shown
from mountsea_banana.client._errors import ConfigurationError
from mountsea_banana.ledger._ledger import check_key
from mountsea_banana.rules._check import encode_and_check
from mountsea_banana.rules._fields import field_names


@frozen
class Row:
    """A valid request, and the key of its picture."""

    number: int
    """The line of the file that it starts in, or its position in a list, from 1."""
    key: str
    """The key in the ledger: the one that was given, or one derived from the request."""
    request: Mapping[str, Any] = field(hash=False, repr=False)
    """The request body."""


@frozen
class BadRow:
    """A row that cannot be sent."""

    number: int
    """The line of the file that it starts in, or its position in a list, from 1."""
    problems: tuple[str, ...]
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"row {self.number}: {', '.join(self.problems)}"


@frozen
class Unreadable:
    """What stands for the fields of a row that has none."""

    reason: str


@frozen
class Draft:
    """The fields of a row as they were given, before the row has its key."""

    key: str | None
    request: str
    """The JSON of the request body."""
    digest: bytes
    """A hash of the request body, whatever the order of its fields."""
    prompt: str
    problems: tuple[str, ...]

    @classmethod
    def of(cls, fields: object) -> Draft:
        """Check the fields of a row.

        Fields that are None count as not given. The action is `generate` by default, or `edit` if
        there are `image_urls`.
        """
        if isinstance(fields, Unreadable):
            return cls._bad(fields.reason)
        if not isinstance(fields, Mapping):
            return cls._bad(f"is not an object with fields: {shown(fields)}")
        body = {name: value for name, value in fields.items() if value is not None}
        given = body.pop("key", None)
        body.setdefault("action", "edit" if body.get("image_urls") else "generate")
        checked = encode_and_check(body)
        problems = [violation.message for violation in checked.violations]
        # The API may ignore a misspelt field, and charge for a picture that nobody wanted.
        problems += [f"{shown(name)} is not a field" for name in body if name not in _known_names()]
        prompt = body.get("prompt")
        if isinstance(prompt, str) and is_blank(prompt):
            problems.append("the prompt is empty")
        key = given
        with contextlib.suppress(ValueError):  # more digits than Python writes
            key = str(given) if type(given) is int else given
        try:
            key = None if key is None else check_key(key)
        except ConfigurationError as error:
            problems.append(str(error))
        if problems:
            return cls._bad(*problems)
        digest = hashlib.sha256(checked.canonical).digest()[:16]
        return cls(key, checked.content.decode(), digest, str(body["prompt"]), ())

    @classmethod
    def _bad(cls, *problems: str) -> Draft:
        return cls(None, "", b"", "", problems)


@functools.cache
def _known_names() -> frozenset[str]:
    return frozenset(field_names())
