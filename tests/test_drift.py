"""The rules, the types and the spec cannot drift apart without a test that says what to decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from mountsea_banana import _options, _polling, _rules, check_request
from mountsea_banana.contract import RULES_SCHEMA, Contract

SPEC = Path(__file__).parent.parent / "openapi.yaml"
SCHEMAS = yaml.safe_load(SPEC.read_text("utf-8"))["components"]["schemas"]
SCHEMA: Mapping[str, Any] = SCHEMAS[RULES_SCHEMA]

# What the wrapper makes of each operation of the spec; one that it does not offer has the reason.
OFFERED = {
    "POST /gemini/image/generate": "NanoBanana.generate, .edit and .submit",
    "GET /gemini/task/result": "Task.fetch and .wait",
}
NOT_OFFERED: Mapping[str, str] = {}

OPTIONS = {
    None: _options.FastOptions,
    "nano-banana-fast": _options.FastOptions,
    "nano-banana-pro": _options.ProOptions,
    "nano-banana-2": _options.Nano2Options,
}


def literals(hint: Any) -> set[str]:
    """Return every text that a type of literals allows."""
    if isinstance(hint, str):
        return {hint}
    return set().union(*(literals(each) for each in get_args(hint)))


DECIDED = {
    "action": ({"generate", "edit"}, "offer it as a method in _client.py and _async_client.py"),
    "model": (
        literals(_options.Model),
        "give it an overload in _options.py, and say in RESOLUTION_MODELS and WIDE_RATIO_MODELS of "
        "_rules.py and in rules.overlay.yaml what it allows",
    ),
    "aspect_ratio": (
        literals(_options.AspectRatio),
        "put it into StandardRatio or WideRatio of _options.py, and where it is wide into "
        "WIDE_RATIOS of _rules.py and into rules.overlay.yaml",
    ),
    "resolution": (literals(_options.Resolution), "put it into Resolution of _options.py"),
}


@pytest.mark.parametrize("name", DECIDED)
def test_drift_every_value_of_the_spec_is_decided(name: str) -> None:
    decided, what_to_do = DECIDED[name]
    published = set(SCHEMA["properties"][name]["enum"])
    new, gone = sorted(published - decided), sorted(decided - published)
    assert not new, f"{name} {', '.join(new)} is new in openapi.yaml: {what_to_do}"
    assert not gone, f"{name} {', '.join(gone)} is gone from openapi.yaml: undo this: {what_to_do}"


def test_drift_the_rules_name_only_values_that_the_spec_has() -> None:
    enums = {name: set(SCHEMA["properties"][name]["enum"]) for name in DECIDED}
    assert {*_rules.RESOLUTION_MODELS, *_rules.WIDE_RATIO_MODELS} <= enums["model"]
    assert set(_rules.WIDE_RATIOS) == literals(_options.WideRatio) <= enums["aspect_ratio"]
    assert SCHEMA["properties"]["model"]["default"] == _rules.DEFAULT_MODEL


def descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield str(node.get("description", ""))
        for child in node.values():
            yield from descriptions(child)


@pytest.mark.parametrize("rule", _rules.RULES, ids=lambda rule: rule.id)
def test_drift_a_rule_quotes_what_the_spec_still_says(rule: _rules.Rule) -> None:
    said = [" ".join(each.split()) for each in descriptions(SCHEMA)]
    assert any(" ".join(rule.sentence.split()) in each for each in said), (
        f"openapi.yaml no longer says {rule.sentence!r}: see whether the rule {rule.id} still "
        "holds, and bring _rules.py and rules.overlay.yaml up to date"
    )


def test_drift_the_wrapper_and_the_overlay_have_the_same_rules() -> None:
    assert [(r.id, r.sentence) for r in _rules.RULES] == [
        (r.id, r.sentence) for r in Contract.load(SPEC).rules
    ]


def test_drift_a_rule_is_broken_only_at_fields_that_the_spec_has() -> None:
    worst = {
        "prompt": "x",
        "action": "edit",
        "resolution": "2K",
        "aspect_ratio": "8:1",
        "num_images": 2,
    }
    bodies: list[dict[str, object]] = [worst, {**worst, "image_urls": ["ftp://a"]}]
    found = [violation for body in bodies for violation in check_request(body)]
    assert {each.rule for each in found} >= {rule.id for rule in _rules.RULES}
    assert {each.field.partition("[")[0] for each in found} <= SCHEMA["properties"].keys()


def test_drift_every_operation_is_offered_or_listed_as_not_offered() -> None:
    published = {operation.name for operation in Contract.load(SPEC).operations}
    new = sorted(published - OFFERED.keys() - NOT_OFFERED.keys())
    assert not new, (
        f"{new} is new: offer it in the wrapper, or list it in NOT_OFFERED with a reason"
    )
    assert published == OFFERED.keys() | NOT_OFFERED.keys()


def test_drift_every_status_is_open_or_final() -> None:
    status = SCHEMAS["TaskResultDto"]["properties"]["status"]
    undecided = sorted(set(status["enum"]) - _polling.OPEN - _polling.FINAL)
    assert not undecided, f"put {undecided} into OPEN or FINAL of _polling.py"


@pytest.mark.parametrize("model", OPTIONS)
def test_drift_the_types_offer_exactly_what_the_rules_allow(model: str | None) -> None:
    hints = get_type_hints(OPTIONS[model])
    named = {"model": model} if model else {}
    for name in ("aspect_ratio", "resolution"):
        allowed = {
            value
            for value in SCHEMA["properties"][name]["enum"]
            if not check_request({"prompt": "x", "action": "generate", **named, name: value})
        }
        assert literals(hints[name]) == allowed
