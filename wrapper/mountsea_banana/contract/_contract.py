"""The contract: the vendor's spec, and the overlay with the rules that it states only in prose."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

import jsonschema_rs
import yaml
from attrs import field, frozen

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
"""The methods that OpenAPI 3.0 knows."""
RULES_SCHEMA = "NanoImageDto"
"""The schema of requests, which the prose rules belong to."""

# The C loader reads the spec ten times faster, and not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ContractError(Exception):
    """The spec or the overlay cannot be used; the message says which and why."""


@frozen
class Problem:
    """One thing that is wrong with a value."""

    rule: str
    """The id of a prose rule, or the JSON Schema keyword that refused."""
    field: str
    """The path to the value, such as `image_urls.0`; empty where the whole is wrong."""
    message: str
    """What is wrong, for a person to read."""


class Schema:
    """A schema of the document, compiled once."""

    def __init__(self, schema: Mapping[str, Any], components: Mapping[str, Any]) -> None:
        self.schema = schema
        """The schema as it stands in the document."""
        document = _json_schema({**schema, "components": components})
        self._validator = jsonschema_rs.Draft4Validator(document, validate_formats=True)

    def is_valid(self, value: Any) -> bool:
        """Say whether `value`, as parsed from JSON, keeps the schema."""
        return self._validator.is_valid(value)

    def required_names(self, document: Mapping[str, Any]) -> set[str]:
        """Return the required properties of the object that the schema describes."""
        return set(resolve(self.schema, document).get("required", []))

    def problems(self, value: Any) -> Iterator[Problem]:
        """Give what is wrong with `value`, for a person to read."""
        for error in self._validator.iter_errors(value):
            if "allOf" in error.schema_path:
                continue  # a prose rule, which says more in the vendor's words
            path = ".".join(str(part) for part in error.instance_path)
            keyword = str(error.schema_path[-1]) if error.schema_path else "schema"
            yield Problem(keyword, path, error.message)


@frozen
class Rule:
    """A rule from the vendor's prose, as JSON Schema."""

    id: str
    """Such as `edit-needs-image-urls`; the wrapper's rule has the same."""
    sentence: str
    """The vendor's own words, as they stand in the spec."""
    schema: Schema = field(repr=False)
    """What a request body must keep."""


@frozen
class Parameter:
    """One parameter of an operation."""

    name: str
    """The name in the request."""
    place: str
    """query, path, header or cookie."""
    is_required: bool
    """Whether a request without it is refused."""
    schema: Mapping[str, Any] = field(repr=False)
    """The parameter's schema, as it stands in the spec."""


@frozen
class Operation:
    """One operation of the spec."""

    method: str
    """The HTTP method, in capitals."""
    path: str
    """The path, with its parameters in braces."""
    parameters: tuple[Parameter, ...]
    """All parameters, those of the path item first."""
    request: Schema | None
    """What the JSON body must keep; None where the operation takes none."""
    is_request_required: bool
    """Whether a request without a body is refused."""
    success_status: int
    """The documented status of a success, the lowest where there are several."""
    success: Schema | None
    """What the JSON of a success keeps; None where it has none."""
    is_secured: bool
    """Whether a request needs a key."""
    makes_tasks: bool
    """Whether it is a submission: it answers with nothing but the id of a new task."""
    looks_at_tasks: bool
    """Whether it answers with where a task stands."""

    @property
    def name(self) -> str:
        """The method and path."""
        return f"{self.method} {self.path}"


@frozen
class Contract:
    """What a server of this API must keep."""

    document: Mapping[str, Any] = field(repr=False)
    """The effective OpenAPI document: the spec with the overlay applied."""
    source: bytes = field(repr=False)
    """The spec as it was published."""
    rules: tuple[Rule, ...]
    """The prose rules; they hold for requests of the schema NanoImageDto."""
    operations: tuple[Operation, ...]
    """The operations, in the order of the spec."""

    @classmethod
    def load(cls, spec: Path | None = None) -> Self:
        """Read a spec, by default the one that the generated client carries, and the overlay.

        Raises ContractError: an unreadable file, an overlay target that matches nothing, a rule
        whose vendor sentence the spec no longer holds.
        """
        package = resources.files("mountsea_api") / "openapi.yaml"
        try:
            source = spec.read_bytes() if spec else package.read_bytes()
        except OSError as error:
            raise ContractError(f"cannot read the spec {spec}: {error.strerror}") from error
        published = _parse(source, str(spec or "openapi.yaml"))
        overlay = (resources.files("mountsea_banana.contract") / "rules.overlay.yaml").read_bytes()
        return cls.build(published, _parse(overlay, "rules.overlay.yaml"), source)

    @classmethod
    def build(
        cls, published: Mapping[str, Any], overlay: Mapping[str, Any], source: bytes = b""
    ) -> Self:
        """Apply a parsed overlay to a parsed spec. Raises ContractError."""
        document = apply_overlay(published, overlay)
        try:
            components = document.get("components", {})
            schema = components.get("schemas", {}).get(RULES_SCHEMA, {})
            rules = tuple(
                Rule(part["x-rule-id"], part["x-vendor-sentence"], Schema(part, {}))
                for part in schema.get("allOf", [])
                if "x-rule-id" in part
            )
            _check_sentences(rules, published)
            operations = tuple(_operations(document, components))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the spec is no usable OpenAPI document: {error!r}") from error
        return cls(document, source, rules, operations)

    def broken_rules(self, body: object) -> list[Rule]:
        """Return the prose rules that a request body breaks."""
        return [rule for rule in self.rules if not rule.schema.is_valid(body)]

    def problems(self, request: Schema, body: object) -> list[Problem]:
        """Return everything that is wrong with a request body; empty where it may be accepted."""
        problems = list(request.problems(body))
        if request.schema.get("$ref") == f"#/components/schemas/{RULES_SCHEMA}":
            broken = self.broken_rules(body)
            problems += [Problem(rule.id, "", f"the rule is: {rule.sentence}") for rule in broken]
        return problems


def apply_overlay(published: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `published` with every action of an Overlay 1.0 document applied.

    Objects are merged, arrays concatenated. A target is a path of names from `$`, where `*` is
    every name. Raises ContractError where a target matches nothing.
    """
    document = copy.deepcopy(dict(published))
    for action in overlay["actions"]:
        nodes: list[Any] = [document]
        for name in action["target"].split(".")[1:]:
            nodes = [child for node in nodes for child in _children(node, name)]
        if not nodes:
            raise ContractError(
                f"the overlay's target {action['target']} matches nothing in the spec: "
                "rewrite the action in rules.overlay.yaml, or remove it"
            )
        for node in nodes:
            _merge(node, action["update"])
    return document


def resolve(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that a `$ref` of the document stands for; any other as it is."""
    while "$ref" in schema:
        node: Any = document
        for name in schema["$ref"].split("/")[1:]:
            node = node[name]
        schema = node
    return schema


def _children(node: Any, name: str) -> list[Any]:
    if not isinstance(node, dict):
        return []
    if name == "*":
        return list(node.values())
    return [node[name]] if name in node else []


def _merge(node: dict[str, Any], update: Mapping[str, Any]) -> None:
    for name, value in update.items():
        if isinstance(value, dict) and isinstance(node.get(name), dict):
            _merge(node[name], value)
        elif isinstance(value, list) and isinstance(node.get(name), list):
            node[name] = node[name] + copy.deepcopy(value)
        else:
            node[name] = copy.deepcopy(value)


def _check_sentences(rules: tuple[Rule, ...], published: Mapping[str, Any]) -> None:
    said = [" ".join(text.split()) for text in _descriptions(published)]
    for rule in rules:
        if not any(" ".join(rule.sentence.split()) in text for text in said):
            raise ContractError(
                f"the spec no longer says {rule.sentence!r}: see whether the rule {rule.id} still "
                "holds, and bring rules.overlay.yaml up to date"
            )


def _descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("description"), str):
            yield node["description"]
        for child in node.values():
            yield from _descriptions(child)


def _operations(document: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            responses = operation["responses"]
            status = min((code for code in responses if str(code).startswith("2")), default=None)
            if status is None:
                raise ContractError(f"{method.upper()} {path} documents no success answer")
            request = operation.get("requestBody", {})
            success = _content_schema(responses[status], components)
            wanted = success.required_names(document) if success else set()
            yield Operation(
                method=method.upper(),
                path=path,
                parameters=tuple(
                    Parameter(
                        each["name"], each["in"], bool(each.get("required")), each.get("schema", {})
                    )
                    for each in [*item.get("parameters", []), *operation.get("parameters", [])]
                ),
                request=_content_schema(request, components),
                is_request_required=bool(request.get("required")),
                success_status=int(status),
                success=success,
                is_secured=bool(operation.get("security", document.get("security"))),
                makes_tasks=method == "post" and wanted == {"taskId"},
                looks_at_tasks={"taskId", "status"} <= wanted,
            )


def _content_schema(holder: Mapping[str, Any], components: Mapping[str, Any]) -> Schema | None:
    schema = holder.get("content", {}).get("application/json", {}).get("schema")
    return None if schema is None else Schema(schema, components)


def _json_schema(node: Any) -> Any:
    """Return an OpenAPI 3.0 schema as JSON Schema, which knows no `nullable`."""
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


def _parse(source: bytes, name: str) -> dict[str, Any]:
    try:
        document = yaml.load(source, Loader=_LOADER)  # noqa: S506 - a safe loader either way
    except (yaml.YAMLError, UnicodeError) as error:
        raise ContractError(f"{name} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{name} holds no mapping")
    return document
