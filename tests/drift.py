"""The decisions that a changed spec leaves to the developer.

Each check yields one line per decision, which names the change and the code to edit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mountsea_banana.client import _polling
from mountsea_banana.contract import METHODS
from mountsea_banana.rules import _models, _rules

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "openapi.yaml"
REQUEST_SCHEMA = "NanoImageDto"
TASK_SCHEMA = "TaskResultDto"

# How the wrapper offers each operation of the spec.
OFFERED = {
    "POST /gemini/image/generate": "NanoBanana.generate, .edit and .submit",
    "GET /gemini/task/result": "Task.fetch and .wait",
}
# The operations that it does not offer, each with the reason.
NOT_OFFERED: Mapping[str, str] = {}


# The fields that the wrapper reads, and the places that read them. It passes on all others.
FIELDS = {
    REQUEST_SCHEMA: (
        {"action", "aspect_ratio", "image_urls", "model", "num_images", "prompt", "resolution"},
        "_rules.py, _fields.py, _requests.py and rules.overlay.yaml",
    ),
    TASK_SCHEMA: (
        {"createdAt", "errorCode", "errorMessage", "finishedAt", "result", "status", "traceId"},
        "_snapshots.py and _responses.py",
    ),
}

# For each field with an enum: the values that the code handles, and the places that list them.
DECIDED = {
    "action": (
        {"generate", "edit"},
        "the methods of _async_submitter.py, or this table if it is offered by submit alone",
    ),
    "model": (
        set(_models.literals(_models.Model)),
        "the row of its kind in _models.py, and rules.overlay.yaml if it supports a resolution or "
        "the wide ratios",
    ),
    "aspect_ratio": (
        set(_models.literals(_models.AspectRatio)),
        "StandardRatio or WideRatio in _models.py, and rules.overlay.yaml for a wide ratio",
    ),
    "resolution": (set(_models.literals(_models.Resolution)), "Resolution in _models.py"),
}


def published(name: str) -> list[str]:
    """Return the values that openapi.yaml allows for a field of a request."""
    document = yaml.safe_load(SPEC.read_text("utf-8"))
    return list(properties(document, REQUEST_SCHEMA)[name]["enum"])


def undecided(document: Mapping[str, Any]) -> list[str]:
    """Return every decision that a spec leaves open."""
    return [
        *schemas(document),
        *fields(document),
        *(line for name in DECIDED for line in values(document, name)),
        *default(document),
        *(line for rule in _rules.RULES for line in sentence(document, rule)),
        *operations(document),
        *statuses(document),
    ]


def properties(document: Mapping[str, Any], schema: str) -> Mapping[str, Any]:
    found = document["components"]["schemas"].get(schema, {})
    return dict(found.get("properties", {}))


def schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name in (REQUEST_SCHEMA, TASK_SCHEMA):
        if name not in document["components"]["schemas"]:
            yield (
                f"schema {name} was removed from openapi.yaml: if it was renamed, use the new name "
                f"everywhere `git grep {name} wrapper tests` finds the old one"
            )


def fields(document: Mapping[str, Any]) -> Iterator[str]:
    for schema, (names, places) in FIELDS.items():
        published = properties(document, schema)
        for name in sorted(names - published.keys() if published else ()):
            yield (
                f"openapi.yaml no longer has the field {name}: if it was renamed, read the new "
                f"name in {places}, and list it in tests/drift.py"
            )


def values(document: Mapping[str, Any], name: str) -> Iterator[str]:
    decided, code = DECIDED[name]
    # Pages that name both actions are mostly about the methods.
    places = ", ".join([code, *(listing(decided) if name != "action" else ())])
    published = set(properties(document, REQUEST_SCHEMA).get(name, {}).get("enum", []))
    new, removed = sorted(published - decided), sorted(decided - published)
    if new:
        yield f"openapi.yaml now allows {name} {', '.join(new)}: update {places}"
    if removed:
        yield f"openapi.yaml no longer allows {name} {', '.join(removed)}: update {places}"


def default(document: Mapping[str, Any]) -> Iterator[str]:
    found = properties(document, REQUEST_SCHEMA).get("model", {}).get("default")
    if found != _rules.DEFAULT_MODEL:
        yield (
            f"the default model in openapi.yaml is now {found}: update DEFAULT_MODEL in _rules.py, "
            "the row in _models.py that needs no model, and rules.overlay.yaml"
        )


def descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield str(node.get("description", ""))
        for child in node.values():
            yield from descriptions(child)


def sentence(document: Mapping[str, Any], rule: _rules.Rule) -> Iterator[str]:
    schema = document["components"]["schemas"].get(REQUEST_SCHEMA, {})
    published = [" ".join(each.split()) for each in descriptions(schema)]
    if not any(" ".join(rule.sentence.split()) in each for each in published):
        yield (
            f"openapi.yaml no longer has the sentence {rule.sentence!r}: check whether the rule "
            f"{rule.id} still applies, and update {', '.join(quoting(rule.sentence))}"
        )


def listing(values: set[str]) -> list[str]:
    """Return the pages with a paragraph that lists values."""
    return [
        str(path.relative_to(ROOT))
        for path in pages()
        if any(
            all(f"`{value}`" in paragraph for value in values)
            for paragraph in path.read_text("utf-8").split("\n\n")
        )
    ]


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def quoting(sentence: str) -> list[str]:
    """Return the pages and the files of the wrapper that quote a sentence of the vendor."""
    code = [path for path in ROOT.glob("wrapper/**/*") if path.suffix in (".html", ".py", ".yaml")]
    return [
        str(path.relative_to(ROOT))
        for path in pages() + sorted(code)
        if sentence in _unwrapped(path.read_text("utf-8"))
    ]


def _unwrapped(text: str) -> str:
    """Return text without line breaks, also without those between the parts of a string."""
    return " ".join(re.sub(r'"\s*\n\s*"', "", text).split())


def operations(document: Mapping[str, Any]) -> Iterator[str]:
    published = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }
    listed = OFFERED.keys() | NOT_OFFERED.keys()
    for name in sorted(published - listed):
        yield (
            f"{name} was added to openapi.yaml: offer it in the wrapper, or list it in NOT_OFFERED "
            "in tests/drift.py with a reason"
        )
    for name in sorted(listed - published):
        yield f"{name} was removed from openapi.yaml: remove it from the wrapper and tests/drift.py"


def statuses(document: Mapping[str, Any]) -> Iterator[str]:
    status = properties(document, TASK_SCHEMA).get("status", {})
    for value in sorted(set(status.get("enum", [])) - _polling.OPEN - _polling.FINAL):
        yield f"openapi.yaml now allows status {value}: add it to OPEN or FINAL in _polling.py"
