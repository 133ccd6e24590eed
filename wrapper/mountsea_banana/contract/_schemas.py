"""Schemas of the contract, compiled for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jsonschema_rs
from attrs import frozen

from ._rules import RULE_ID, Rule, read_rules, resolve


@frozen
class Problem:
    """One way in which a value is invalid."""

    rule: str
    """The id of a prose rule, or the JSON Schema keyword that failed."""
    field: str
    """The path to the value, such as `image_urls.0`; empty if the whole value is wrong."""
    message: str
    """A description of the problem."""


class Schema:
    """A schema of an OpenAPI document, compiled once."""

    def __init__(self, schema: Mapping[str, Any], components: Mapping[str, Any]) -> None:
        self.schema = schema
        """The schema as written in the document."""
        self._components = components
        self._compiled = _json_schema({**schema, "components": components})
        self._validator = jsonschema_rs.Draft4Validator(self._compiled, validate_formats=True)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The prose rules for the value and everything in it."""
        return tuple(read_rules(self.schema, {"components": self._components}))

    @property
    def type(self) -> str:
        """The JSON type of the value; empty if the schema does not say."""
        return str(resolve(self.schema, {"components": self._components}).get("type", ""))

    def is_valid(self, value: Any) -> bool:
        """Return whether `value`, as parsed from JSON, conforms to the schema."""
        return self._validator.is_valid(value)

    def required_names(self, document: Mapping[str, Any]) -> set[str]:
        """Return the names of the required properties of the object that the schema describes."""
        return set(resolve(self.schema, document).get("required", []))

    def problems(self, value: Any) -> Iterator[Problem]:
        """Yield the ways in which `value` violates the schema, each rule once per place."""
        found: dict[Problem, None] = {}
        for error in self._validator.iter_errors(value):
            path = ".".join(str(part) for part in error.instance_path)
            rule = self._rule_at(error.schema_path)
            if rule:
                # Reported in the vendor's words instead of those of JSON Schema.
                text = f"the rule is: {rule['x-vendor-sentence']}"
                found[Problem(rule[RULE_ID], path, text)] = None
            else:
                keyword = str(error.schema_path[-1]) if error.schema_path else "schema"
                found[Problem(keyword, path, error.message)] = None
        yield from found

    def _rule_at(self, path: Sequence[str | int]) -> Mapping[str, Any] | None:
        """Return the rule that a part of the compiled schema belongs to, if any."""
        node: Any = self._compiled
        for name in path:
            node = node[name]
            if isinstance(node, Mapping) and RULE_ID in node:
                return node
        return None


def _json_schema(node: Any) -> Any:
    """Return an OpenAPI 3.0 schema as JSON Schema, which has no `nullable`."""
    if isinstance(node, list):
        return [_json_schema(child) for child in node]
    if not isinstance(node, Mapping):
        return node
    schema = {name: _json_schema(child) for name, child in node.items()}
    if schema.pop("nullable", None) is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list):
            schema["enum"] = [*schema["enum"], None]
    return schema
