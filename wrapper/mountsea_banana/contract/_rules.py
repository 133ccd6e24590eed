"""The rules from the vendor's prose, which the overlay adds to the `allOf` of any schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

RULE_ID = "x-rule-id"
"""The key that marks a schema as a rule, with the rule's id."""


@frozen
class Rule:
    """A rule from the vendor's prose, as JSON Schema."""

    id: str
    """The rule's id, such as `edit-needs-image-urls`. The client's rule has the same id."""
    sentence: str
    """The vendor's own words, as they appear in the spec."""
    place: str
    """Where the rule applies, such as `image_urls[]`; empty if it applies to the whole value."""
    schema: Mapping[str, Any] = field(repr=False)
    """The schema that the value in this place must conform to, as written in the overlay."""


def resolve(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that a `$ref` points to; return any other schema unchanged."""
    while "$ref" in schema:
        node: Any = document
        for name in schema["$ref"].split("/")[1:]:
            node = node[name]
        schema = node
    return schema


def read_rules(
    schema: Mapping[str, Any],
    document: Mapping[str, Any],
    place: str = "",
    seen: frozenset[str] = frozenset(),
) -> Iterator[Rule]:
    """Yield the rules of a schema, and those of its properties and items."""
    reference = schema.get("$ref")
    if reference in seen:
        return
    seen = seen | {reference} if reference else seen
    schema = resolve(schema, document)
    for part in schema.get("allOf", []):
        if RULE_ID in part:
            yield Rule(part[RULE_ID], part["x-vendor-sentence"], place, part)
        else:
            yield from read_rules(part, document, place, seen)
    for name, child in schema.get("properties", {}).items():
        yield from read_rules(child, document, f"{place}.{name}".lstrip("."), seen)
    if "items" in schema:
        yield from read_rules(schema["items"], document, f"{place}[]", seen)


def inline_rules(node: Any, document: Mapping[str, Any]) -> Any:
    """Return a part of a document, with rules beside a `$ref` moved into a copy of its target.

    They apply in this place only. JSON Schema would ignore what is beside a `$ref`.
    """
    if isinstance(node, list):
        return [inline_rules(child, document) for child in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node and "allOf" in node:
        target = resolve(node, document)
        node = {**target, "allOf": [*target.get("allOf", []), *node["allOf"]]}
    return {name: inline_rules(child, document) for name, child in node.items()}


def rule_ids(node: Any) -> Iterator[str]:
    """Yield the id of every rule anywhere in a document."""
    if isinstance(node, Mapping) and RULE_ID in node:
        yield str(node[RULE_ID])
    children = node.values() if isinstance(node, Mapping) else node
    for child in children if isinstance(node, Mapping | list) else ():
        yield from rule_ids(child)
