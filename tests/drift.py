"""What a spec leaves to be decided by a person: one line each, which says what and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from mountsea_banana.client import _polling
from mountsea_banana.contract import METHODS, RULES_SCHEMA
from mountsea_banana.rules import _options, _rules

TASK_SCHEMA = "TaskResultDto"

# What the wrapper makes of each operation of the spec; one that it does not offer has the reason.
OFFERED = {
    "POST /gemini/image/generate": "NanoBanana.generate, .edit and .submit",
    "GET /gemini/task/result": "Task.fetch and .wait",
}
NOT_OFFERED: Mapping[str, str] = {}


def literals(hint: Any) -> set[str]:
    """Return every text that a type of literals allows."""
    if isinstance(hint, str):
        return {hint}
    return set().union(*(literals(each) for each in get_args(hint)))


DECIDED = {
    "action": (
        {"generate", "edit"},
        "offer it as a method in client/_client.py and client/_async_client.py",
    ),
    "model": (
        literals(_options.Model),
        "add it to Model in rules/_options.py, add an overload in client/_client.py and "
        "client/_async_client.py, and state in RESOLUTION_MODELS and WIDE_RATIO_MODELS of "
        "rules/_rules.py and in contract/rules.overlay.yaml what it allows",
    ),
    "aspect_ratio": (
        literals(_options.AspectRatio),
        "put it into StandardRatio or WideRatio of _options.py, and where it is wide into "
        "WIDE_RATIOS of _rules.py and into rules.overlay.yaml",
    ),
    "resolution": (literals(_options.Resolution), "put it into Resolution of _options.py"),
}


def undecided(document: Mapping[str, Any]) -> list[str]:
    """Return a line for everything in a spec that the rules and the wrapper do not account for."""
    return [
        *schemas(document),
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
    for name in (RULES_SCHEMA, TASK_SCHEMA):
        if name not in document["components"]["schemas"]:
            yield (
                f"the schema {name} is gone from openapi.yaml: if it has another name now, write "
                "that where `git grep` finds the old one in wrapper and tests"
            )


def values(document: Mapping[str, Any], name: str) -> Iterator[str]:
    decided, what_to_do = DECIDED[name]
    published = set(properties(document, RULES_SCHEMA).get(name, {}).get("enum", []))
    new, gone = sorted(published - decided), sorted(decided - published)
    if new:
        yield f"{name} {', '.join(new)} is new in openapi.yaml: {what_to_do}"
    if gone:
        yield f"{name} {', '.join(gone)} is gone from openapi.yaml: undo this: {what_to_do}"


def default(document: Mapping[str, Any]) -> Iterator[str]:
    found = properties(document, RULES_SCHEMA).get("model", {}).get("default")
    if found != _rules.DEFAULT_MODEL:
        yield (
            f"the default model is {found} in openapi.yaml: write it into DEFAULT_MODEL of "
            "_rules.py and into rules.overlay.yaml, and give it the overload without `model`"
        )


def descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield str(node.get("description", ""))
        for child in node.values():
            yield from descriptions(child)


def sentence(document: Mapping[str, Any], rule: _rules.Rule) -> Iterator[str]:
    schema = document["components"]["schemas"].get(RULES_SCHEMA, {})
    said = [" ".join(each.split()) for each in descriptions(schema)]
    if not any(" ".join(rule.sentence.split()) in each for each in said):
        yield (
            f"openapi.yaml no longer says {rule.sentence!r}: see whether the rule {rule.id} still "
            "holds, and bring _rules.py and rules.overlay.yaml up to date"
        )


def operations(document: Mapping[str, Any]) -> Iterator[str]:
    published = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }
    known = OFFERED.keys() | NOT_OFFERED.keys()
    for name in sorted(published - known):
        yield (
            f"{name} is new in openapi.yaml: offer it in the wrapper, or list it in NOT_OFFERED of "
            "tests/drift.py with a reason"
        )
    for name in sorted(known - published):
        yield f"{name} is gone from openapi.yaml: take it out of the wrapper and of tests/drift.py"


def statuses(document: Mapping[str, Any]) -> Iterator[str]:
    status = properties(document, TASK_SCHEMA).get("status", {})
    for value in sorted(set(status.get("enum", [])) - _polling.OPEN - _polling.FINAL):
        yield f"the status {value} is new in openapi.yaml: put it into OPEN or FINAL of _polling.py"
