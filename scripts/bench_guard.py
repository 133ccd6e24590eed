"""Whether the client got slower than the committed ratios say.

Only ratios of processor time or of the fastest samples are compared, and a ratio counts as worse
only if two runs agree that it is.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.bench_measure import Row

TABLE = Path(__file__).with_name("bench_ratios.toml")
MARGIN = 1.25
"""How many times the committed ratio a ratio may be."""


def main(rows: Mapping[str, Callable[[], Row]]) -> int:
    """Measure the committed rows, those that are worse twice; return the exit code."""
    committed: Mapping[str, Mapping[str, float]] = tomllib.loads(TABLE.read_text("utf-8"))
    worse = {name: _worse(rows[name](), ratios) for name, ratios in committed.items()}
    agreed = {
        name: sides & _worse(rows[name](), committed[name])
        for name, sides in worse.items()
        if sides
    }
    for name, sides in agreed.items():
        for side in sorted(sides):
            print(f"bench: {name}: {side} is slower than {TABLE.name} says, in two runs")
    return int(any(agreed.values()))


def _worse(row: Row, committed: Mapping[str, float]) -> set[str]:
    """Return the sides whose ratio is much larger than the committed one."""
    ratios = {side: row.fastest_ratio(side) for side in committed}
    for side, ratio in ratios.items():
        print(f"bench: {row.title}: {side}: {ratio:.2f}, committed {committed[side]:.2f}")
    sys.stdout.flush()
    return {side for side, ratio in ratios.items() if ratio > MARGIN * committed[side]}
