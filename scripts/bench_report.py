"""How `bench.py` reports: a table in Markdown, and a page with a plot of every sample."""

from __future__ import annotations

import datetime
import html
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.bench_measure import Row

PACKAGES = (
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "aiohttp",
    "attrs",
    "click",
    "jsonschema-rs",
    "starlette",
    "uvicorn",
    "schemathesis",
)
HEADER = ("median", "middle half", "ratio", "fastest", "ratio")
EXPLANATION = (
    "The sides of a table were measured in one run, in alternating rounds, after one round to warm "
    "up. Half of the samples are in the range called the middle half. Each ratio compares a figure "
    "with that of the first side. Ratios hold on other machines; the figures do not. If a middle "
    "half is wide, the machine was busy: trust the fastest samples more, or measure again."
)
WIDTH, LABEL, LINE = 860, 260, 26
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 54rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { text-align: left; padding: .15rem 1rem .15rem 0; border-bottom: 1px solid #ddd }
td + td { font-variant-numeric: tabular-nums }
svg { width: 100%; font: 13px system-ui, sans-serif }
circle { fill: #2a6fb0; opacity: .3 }
.median { stroke: #b03a2a; stroke-width: 3 }
.grid { stroke: #ddd }
.scale { text-anchor: middle }
"""


def write(rows: Sequence[Row], folder: Path) -> str:
    """Write `bench.md` and `bench.html` into a folder; return the Markdown."""
    folder.mkdir(exist_ok=True)
    text = "\n".join(_markdown(rows)) + "\n"
    (folder / "bench.md").write_text(text, "utf-8")
    (folder / "bench.html").write_text("\n".join(_page(rows)) + "\n", "utf-8")
    return text


def versions() -> str:
    """Return when, where and with what was measured."""
    day = datetime.datetime.now(datetime.UTC).date()
    machine = f"{platform.python_implementation()} {platform.python_version()}"
    machine += f" on {platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    return f"{day}, {machine}; {', '.join(_installed())}."


def _installed() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"no {package}"


def _markdown(rows: Sequence[Row]) -> Iterator[str]:
    yield f"# Benchmarks\n\n{versions()}\n\n{EXPLANATION}"
    for row in rows:
        yield f"\n## {row.title}\n"
        yield "| " + " | ".join((row.unit, *HEADER)) + " |"
        yield "|---|---:|---:|---:|---:|---:|"
        for cells in _cells(row):
            yield "| " + " | ".join(cells) + " |"
        if row.note:
            yield f"\n{row.note}"


def _cells(row: Row) -> Iterator[Sequence[str]]:
    """Yield the cells of each side, as in `HEADER`."""
    for name, samples in row.sides.items():
        if not samples:
            yield (name, "not installed", "", "", "", "")
            continue
        low, median, high = map(_figure, statistics.quantiles(samples, n=4))
        yield (
            name,
            median,
            f"{low} to {high}",
            f"{row.ratio(name):.2f}",
            _figure(row.fastest(name)),
            f"{row.fastest_ratio(name):.2f}",
        )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _page(rows: Sequence[Row]) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Benchmarks</title>'
    yield f"<style>{STYLE}</style>\n<h1>Benchmarks</h1>"
    yield f"<p>{html.escape(versions())}</p>\n<p>{EXPLANATION}</p>"
    yield "<p>In the plots, a dot is a sample and a red line is a median. What is beyond the right"
    yield "edge is drawn at the edge.</p>"
    for row in rows:
        yield f"<h2>{html.escape(row.title)}</h2>"
        yield from _plot(row)
        yield "<table><tr>"
        yield "".join(f"<th>{html.escape(cell)}</th>" for cell in (row.unit, *HEADER))
        for cells in _cells(row):
            yield "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        yield f"</table>\n<p>{html.escape(row.note)}</p>"
    yield "</html>"


def _plot(row: Row) -> Iterator[str]:
    """Yield an SVG with a line for each side, on one scale that starts at zero."""
    measured = {name: samples for name, samples in row.sides.items() if samples}
    # Single samples can be many times the others: they are drawn at the edge.
    largest = max(1.5 * row.median(name) for name in measured)
    height = LINE * (len(measured) + 1)

    def x(value: float) -> float:
        return LABEL + min(value / largest, 1.0) * (WIDTH - LABEL - 20)

    yield f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(row.title)}">'
    for part in range(5):
        value = largest * part / 4
        yield f'<path class="grid" d="M{x(value):.0f} 0V{height - 22}"/>'
        yield f'<text x="{x(value):.0f}" y="{height - 6}" class="scale">{_figure(value)}</text>'
    yield f'<text x="0" y="{height - 6}">{row.unit}</text>'
    for number, (name, samples) in enumerate(measured.items()):
        y = LINE * number + LINE // 2
        yield f'<text x="0" y="{y + 5}">{html.escape(name)}</text>'
        for sample in samples:
            yield f'<circle cx="{x(sample):.1f}" cy="{y}" r="4"/>'
        yield f'<path class="median" d="M{x(row.median(name)):.1f} {y - 9}v18"/>'
    yield "</svg>"
