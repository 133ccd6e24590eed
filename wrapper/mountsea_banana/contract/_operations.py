"""The operations of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from ._errors import ContractError
from ._schemas import Schema

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
"""The HTTP methods that OpenAPI 3.0 defines."""
RULES_SCHEMA = "NanoImageDto"
"""The request schema that the prose rules apply to."""


@frozen
class Parameter:
    """One parameter of an operation."""

    name: str
    """The name in the request."""
    place: str
    """`query`, `path`, `header` or `cookie`."""
    is_required: bool
    """Whether a request without it is invalid."""
    schema: Mapping[str, Any] = field(repr=False)
    """The parameter's schema, as written in the spec."""


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
    """The schema of the JSON request body; None if the operation has no request body."""
    is_request_required: bool
    """Whether a request without a body is invalid."""
    success_status: int
    """The documented success status; the lowest if there are several."""
    success: Schema | None
    """The schema of a successful response's JSON; None if the response has no body."""
    is_secured: bool
    """Whether a request needs a key."""
    is_submission: bool
    """Whether it creates tasks: its response holds a new task's id and nothing else."""
    is_poll: bool
    """Whether its response contains the status of a task."""

    @property
    def name(self) -> str:
        """The method and path."""
        return f"{self.method} {self.path}"

    @property
    def has_rules(self) -> bool:
        """Whether the prose rules apply to its request body."""
        schema = self.request.schema if self.request else {}
        return schema.get("$ref") == f"#/components/schemas/{RULES_SCHEMA}"


def read_operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield the operations of an OpenAPI document, in its order. Raises ContractError."""
    components = document.get("components", {})
    for path, item in document["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            responses = operation["responses"]
            status = min((code for code in responses if str(code).startswith("2")), default=None)
            if status is None:
                raise ContractError(f"{method.upper()} {path} documents no success response")
            request = operation.get("requestBody", {})
            success = _content_schema(responses[status], components)
            names = success.required_names(document) if success else set()
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
                is_submission=method == "post" and names == {"taskId"},
                is_poll={"taskId", "status"} <= names,
            )


def _content_schema(holder: Mapping[str, Any], components: Mapping[str, Any]) -> Schema | None:
    schema = holder.get("content", {}).get("application/json", {}).get("schema")
    return None if schema is None else Schema(schema, components)
