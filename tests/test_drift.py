"""A spec that no longer matches the rules, the types or the wrapper fails a test.

The failure lists the decisions to make. `pytest -k drift` runs these tests alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_type_hints

import pytest
import yaml
from mountsea_banana import check_request
from mountsea_banana.contract import Contract
from mountsea_banana.rules import _models, _rules

from tests import drift

DOCUMENT = yaml.safe_load(drift.SPEC.read_text("utf-8"))
PROPERTIES = drift.properties(DOCUMENT, drift.REQUEST_SCHEMA)

OPTIONS = {
    model: options
    for options in _models.TABLE
    for model in _models.literals(get_type_hints(options)["model"])
}


def assert_none(decisions: Iterable[str]) -> None:
    """Fail with the list of open decisions, if there are any."""
    lines = "\n".join(decisions)
    assert not lines, lines


def test_drift_the_spec_has_the_schemas_that_the_rules_use() -> None:
    assert_none(drift.schemas(DOCUMENT))


def test_drift_the_spec_has_the_fields_that_the_wrapper_reads() -> None:
    assert_none(drift.fields(DOCUMENT))


@pytest.mark.parametrize("name", drift.DECIDED)
def test_drift_the_code_handles_every_value_in_the_spec(name: str) -> None:
    assert_none(drift.values(DOCUMENT, name))


def test_drift_the_default_model_matches_the_spec() -> None:
    assert_none(drift.default(DOCUMENT))


def test_drift_every_model_is_in_a_row_of_the_table() -> None:
    assert sorted(OPTIONS) == sorted(_models.literals(_models.Model))
    assert _rules.DEFAULT_MODEL in _models.literals(_models.FastModel)


@pytest.mark.parametrize("rule", _rules.RULES, ids=lambda rule: rule.id)
def test_drift_a_rule_quotes_a_sentence_in_the_spec(rule: _rules.Rule) -> None:
    assert_none(drift.sentence(DOCUMENT, rule))


def test_drift_the_wrapper_and_the_overlay_have_the_same_rules() -> None:
    assert [(r.id, r.sentence) for r in _rules.RULES] == [
        (r.id, r.sentence) for r in Contract.load(drift.SPEC).rules
    ]


def test_drift_violations_name_only_fields_in_the_spec() -> None:
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
    assert {each.field.partition("[")[0] for each in found} <= PROPERTIES.keys()


def test_drift_every_operation_is_offered_or_listed_as_not_offered() -> None:
    assert_none(drift.operations(DOCUMENT))


def test_drift_every_status_is_open_or_final() -> None:
    assert_none(drift.statuses(DOCUMENT))


@pytest.mark.parametrize("model", [None, *drift.published("model")])
def test_drift_the_types_offer_exactly_what_the_rules_allow(model: str | None) -> None:
    assert (model or _rules.DEFAULT_MODEL) in OPTIONS, f"add {model} to a row in _models.py"
    hints = get_type_hints(OPTIONS[model or _rules.DEFAULT_MODEL])
    named = {"model": model} if model else {}
    for name in ("aspect_ratio", "resolution"):
        allowed = {
            value
            for value in PROPERTIES[name]["enum"]
            if not check_request({"prompt": "x", "action": "generate", **named, name: value})
        }
        assert set(_models.literals(hints[name])) == allowed
