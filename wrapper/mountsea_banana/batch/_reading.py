"""Reading rows from JSON Lines or CSV, one at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mountsea_banana._shared.text import is_utf8, shown
from mountsea_banana.rules._fields import field_names

from ._errors import UnreadableRows
from ._rows import Unreadable

Numbered = tuple[int, object]
"""The line of a row, and its fields or an Unreadable."""

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_CSV_SUFFIXES = (".csv", ".tsv")
_NOT_UTF8 = "is not in UTF-8"
# Excel writes this line for itself, and reads the delimiter from it.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def is_csv(file: str | os.PathLike[str]) -> bool | None:
    """Return whether a file is CSV, from its name; None if the name does not say."""
    suffix = Path(file).suffix.lower()
    return True if suffix in _CSV_SUFFIXES else False if suffix in _JSON_SUFFIXES else None


def read(file: str | os.PathLike[str] | BinaryIO) -> Iterator[Numbered]:
    """Yield the rows of a file, or of a stream such as stdin. Raises UnreadableRows."""
    try:
        with contextlib.ExitStack() as stack:
            is_table, stream = None, file
            if isinstance(stream, str | os.PathLike):
                is_table, stream = is_csv(stream), stack.enter_context(Path(stream).open("rb"))
            # Bytes that are not UTF-8 are found in their row.
            lines = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
            stack.callback(lines.detach)
            yield from _rows(lines, is_table)
    except OSError as error:
        raise UnreadableRows(f"the rows cannot be read: {error}") from error


def _rows(lines: Iterator[str], is_table: bool | None) -> Iterator[Numbered]:
    start: list[str] = []
    for line in lines:
        start.append(line)
        if line.strip():
            break
    first = start[-1].strip() if start else ""
    if first.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise UnreadableRows("the rows are in UTF-16: save them in UTF-8 (in Excel, as CSV UTF-8)")
    everything = itertools.chain(start, lines)
    if is_table is None:
        is_table = not first.startswith("{")
    return _csv_rows(everything, first) if is_table else _json_rows(everything)


def _json_rows(lines: Iterable[str]) -> Iterator[Numbered]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not is_utf8(line):
            yield number, Unreadable(_NOT_UTF8)
            continue
        try:
            yield number, json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            yield number, Unreadable(f"is not valid JSON: {error}")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object. Raises ValueError if a name is in it twice."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has {shown(name)} twice")
        found[name] = value
    return found


def _csv_rows(lines: Iterator[str], first: str) -> Iterator[Numbered]:
    separator = _SEPARATOR_LINE.fullmatch(first)
    delimiter = separator[1] if separator else max(",;\t", key=first.count)
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    line = 0
    try:
        for cells in table:
            number, line = line + 1, table.line_num
            if not any(cells) or (separator and number == 1):
                continue
            if names is None:
                names = _column_names(cells)
            elif not all(map(is_utf8, cells)):
                yield number, Unreadable(f"{_NOT_UTF8}: in Excel, save the file as CSV UTF-8")
            else:
                yield number, _fields(names, cells)
    except csv.Error as error:
        raise UnreadableRows(f"line {table.line_num} is not valid CSV: {error}") from error


def _column_names(cells: list[str]) -> list[str]:
    """Return the names in the first row. Raises UnreadableRows."""
    known = ["key", *field_names()]
    names = [cell.strip() for cell in cells]
    for name in filter(None, names):
        if name not in known:
            raise UnreadableRows(
                f"the column {shown(name)} is unknown: the first row must have the names of the "
                f"columns, which can be {', '.join(known)}"
            )
        if names.count(name) > 1:
            raise UnreadableRows(f"there are several columns {name!r}")
    return names


def _fields(names: list[str], cells: list[str]) -> object:
    """Return the fields of a row of a table. Empty cells count as not given."""
    fields: dict[str, object] = {}
    for name, cell in itertools.zip_longest(names, cells):
        if cell and not name:
            return Unreadable("has a cell in a column without a name")
        if cell:
            fields[name] = _value(name, cell)
    return fields


def _value(name: str, cell: str) -> object:
    if name == "prompt":
        # The same text, and so the same key, whatever a program made of its line breaks.
        return cell.replace("\r\n", "\n")
    text = cell.strip()
    with contextlib.suppress(ValueError, RecursionError):
        if name == "num_images":
            return json.loads(text)
        if name == "image_urls":
            return json.loads(text) if text.startswith("[") else text.split()
    return text
