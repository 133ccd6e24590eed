"""How `make bench-guard` and the rows about growth judge what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import bench_guard
from scripts.bench_growth import exponent
from scripts.bench_measure import Row


def rows(*figures: float) -> Iterator[Row]:
    """Yield a row for each figure of ours, beside a side that always takes 100 µs."""
    for figure in figures:
        yield Row("A submission", "µs", {"bare httpx": [100.0], "ours": [figure]})


@pytest.mark.parametrize(
    ("figures", "code"),
    [
        ((125.0,), 0),  # as much more as is allowed
        ((126.0, 100.0), 0),  # only one run says so
        ((126.0, 126.0), 1),
    ],
)
def test_the_guard_fails_if_two_runs_agree_that_a_ratio_is_much_worse(
    figures: tuple[float, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "ratios.toml"
    table.write_text("[submission]\nours = 1.0\n", "utf-8")
    monkeypatch.setattr(bench_guard, "TABLE", table)
    measured = rows(*figures)
    assert bench_guard.main({"submission": lambda: next(measured)}) == code
    assert list(measured) == []
    assert ("is slower" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_of_a_growth_is_found(power: float) -> None:
    sizes = (10, 100, 1000, 10_000)
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)
