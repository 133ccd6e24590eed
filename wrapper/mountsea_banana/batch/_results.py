"""The results file of a batch: one line per row, as JSON Lines or CSV."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._outcomes import Outcome
from ._reading import is_csv
from ._worklist import Worklist
from ._writing import replacing

COLUMNS: Sequence[str] = ("number", "key", "state", "task_id", "path", "error")

UNRECORDED = "unrecorded.jsonl"
"""The file of tasks that the ledger could not record."""


def write_results(rows: Worklist, file: Path) -> None:
    """Write what came of each row into a file; its suffix says how. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    results = (_result(outcome) for outcome in rows.outcomes())
    # Excel needs the mark to read UTF-8.
    encoding = "utf-8-sig" if is_csv(file) else "utf-8"
    with replacing(file, encoding=encoding) as stream:
        if is_csv(file):
            table = csv.DictWriter(stream, COLUMNS)
            table.writeheader()
            table.writerows(results)
        else:
            stream.writelines(json.dumps(each) + "\n" for each in results)


def keep_unrecorded(tasks: Mapping[str, str], folder: Path) -> None:
    """Append tasks that the ledger could not record, by their keys, to a file.

    The results file would lose them in the next run. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / UNRECORDED).open("a", encoding="utf-8") as stream:
        for key, task_id in tasks.items():
            stream.write(json.dumps({"key": key, "task_id": task_id}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def is_results(file: Path) -> bool:
    """Return whether a file is one that `write_results` wrote. Raises OSError."""
    with file.open("rb") as stream:
        first = stream.readline(1_000_000)
    if is_csv(file):
        return first.decode("utf-8-sig", "replace").strip() == ",".join(COLUMNS)
    try:
        return not first or json.loads(first).keys() == set(COLUMNS)
    except (ValueError, AttributeError):
        return False


def _result(outcome: Outcome) -> dict[str, Any]:
    document = outcome.to_dict()
    return {"state": document.pop("event"), **document}
