"""Schemas of the contract, compiled for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
from attrs import frozen


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
        document = _json_schema({**schema, "components": components})
        self._validator = jsonschema_rs.Draft4Validator(document, validate_formats=True)

    def is_valid(self, value: Any) -> bool:
        """Return whether `value`, as parsed from JSON, conforms to the schema."""
        return self._validator.is_valid(value)

    def required_names(self, document: Mapping[str, Any]) -> set[str]:
        """Return the names of the required properties of the object that the schema describes."""
        return set(resolve(self.schema, document).get("required", []))

    def problems(self, value: Any) -> Iterator[Problem]:
        """Yield the ways in which `value` violates the schema, other than the prose rules."""
        for error in self._validator.iter_errors(value):
            if "allOf" in error.schema_path:
                continue  # a prose rule, which is reported in the vendor's words instead
            path = ".".join(str(part) for part in error.instance_path)
            keyword = str(error.schema_path[-1]) if error.schema_path else "schema"
            yield Problem(keyword, path, error.message)


def resolve(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that a `$ref` points to; return any other schema unchanged."""
    while "$ref" in schema:
        node: Any = document
        for name in schema["$ref"].split("/")[1:]:
            node = node[name]
        schema = node
    return schema


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
