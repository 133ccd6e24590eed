"""Sample values that conform to a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._rules import RULE_ID, resolve
from ._schemas import Schema

_BY_TYPE: Mapping[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}
_BY_FORMAT = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "someone@example.com",
}


def sample(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Return a value that conforms to `schema`, with its required properties only."""
    schema = resolve(schema, document)
    known = Schema(schema, document.get("components", {}))
    for name in ("example", "default"):
        if name in schema and known.is_valid(schema[name]):
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("oneOf", "anyOf"):
        if name in schema:
            return sample(schema[name][0], document)
    parts = [part for part in schema.get("allOf", []) if RULE_ID not in part]
    if parts:
        merged: dict[str, Any] = {}
        for part in parts:
            value = sample(part, document)
            merged.update(value if isinstance(value, dict) else {})
        return merged
    properties = schema.get("properties", {})
    if properties:
        wanted = schema.get("required", [])
        return {name: sample(properties.get(name, {}), document) for name in wanted}
    if schema.get("type") == "array" and schema.get("minItems"):
        return [sample(schema.get("items", {}), document)] * schema["minItems"]
    if schema.get("type") == "string":
        text = _BY_FORMAT.get(schema.get("format", ""), "text")
        return text.ljust(schema.get("minLength", 0), "x")
    number = schema.get("minimum")
    return number if number is not None else _BY_TYPE.get(schema.get("type", "object"), {})
