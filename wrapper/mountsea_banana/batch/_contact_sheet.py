"""A contact sheet of a batch: HTML pages that open from the disk."""

from __future__ import annotations

import html
import itertools
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from ._outcomes import Outcome
from ._worklist import Worklist
from ._writing import replacing

PAGE_SIZE = 500
GENERATOR = b'<meta name="generator" content="mountsea-banana">'
"""Every page has it."""
MAX_PROBLEMS = 200
"""How many of the rows without an image the first page lists."""


def write_contact_sheet(rows: Worklist, folder: Path, title: str) -> Path:
    """Write the pages into the folder of the images; return the first. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    template = Template(
        (resources.files("mountsea_banana.batch") / "contact_sheet.html").read_text("utf-8")
    )
    pages = max(1, -(-rows.states.total() // PAGE_SIZE))
    problems = _problems(rows)
    outcomes = rows.outcomes()
    for page in range(1, pages + 1):
        cards = map(_card, itertools.islice(outcomes, PAGE_SIZE))
        text = template.substitute(
            title=html.escape(title),
            summary=html.escape(summary(rows)),
            problems=problems if page == 1 else "",
            pages=_links(page, pages),
            cards="\n".join(cards),
        )
        with replacing(folder / _file(page)) as stream:
            stream.write(text)
    return folder / _file(1)


def is_contact_sheet(file: Path) -> bool:
    """Return whether a file is one that `write_contact_sheet` wrote. Raises OSError."""
    with file.open("rb") as stream:
        return GENERATOR in stream.read(500)


def summary(rows: Worklist) -> str:
    """Return how many rows are in each state, such as `98 done, 2 failed`."""
    return ", ".join(f"{count:,} {state}" for state, count in rows.states.items())


def _file(page: int) -> str:
    return "index.html" if page == 1 else f"page-{page}.html"


def _links(page: int, pages: int) -> str:
    if pages == 1:
        return ""
    links = (
        f"<b>{each}</b>" if each == page else f'<a href="{_file(each)}">{each}</a>'
        for each in range(1, pages + 1)
    )
    return f"<nav>Pages {' '.join(links)}</nav>"


def _problems(rows: Worklist) -> str:
    """Return a list of the rows without an image, each with a link to its card."""
    count = rows.states.total() - rows.states["done"]
    if not count:
        return ""
    found = (
        (position // PAGE_SIZE + 1, outcome)
        for position, outcome in enumerate(rows.outcomes())
        if outcome.state != "done"
    )
    items = [
        f'<li><a href="{_file(page)}#row-{outcome.number}">row {outcome.number}</a> '
        f"{html.escape(_caption(outcome))}</li>"
        for page, outcome in itertools.islice(found, MAX_PROBLEMS)
    ]
    if count > len(items):
        items.append(f"<li>and {count - len(items):,} more</li>")
    return (
        f"<details><summary>{count:,} without an image</summary><ul>{''.join(items)}</ul></details>"
    )


def _card(outcome: Outcome) -> str:
    prompt = html.escape((outcome.prompt or "")[:2000])
    lines = [f'<p title="{prompt}">{prompt}</p>'] if prompt else []
    if outcome.path:
        file = quote(outcome.path.name)
        image = f'<a class="image" href="{file}"><img src="{file}" alt="" loading="lazy"></a>'
    else:
        image = f'<span class="image">{outcome.state}</span>'
        lines += (
            [f'<p class="error">{html.escape(outcome.error[:500])}</p>'] if outcome.error else []
        )
    key = html.escape(outcome.key or "")
    name = f" · <code>{key}</code>" if key else ""
    lines.append(f'<small title="{key}">row {outcome.number}{name}</small>')
    return f'<article id="row-{outcome.number}">{image}<div>{"".join(lines)}</div></article>'


def _caption(outcome: Outcome) -> str:
    text = f"{outcome.state}: {outcome.error}" if outcome.error else outcome.state
    return text[:300]
