"""The operations of the contract."""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from attrs import evolve, field, frozen

from ._errors import ContractError
from ._rules import Rule, resolve
from ._schemas import Problem, Schema

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
"""The HTTP methods that OpenAPI 3.0 defines."""
# A link with this parameter says which operation polls the new task.
_TASK_ID = "$response.body#/taskId"


@frozen
class Parameter:
    """One parameter of an operation."""

    name: str
    """The name in the request."""
    place: str
    """`query`, `path`, `header` or `cookie`."""
    is_required: bool
    """Whether a request without it is invalid."""
    schema: Schema = field(repr=False)
    """The schema of its value."""

    def problems(self, text: str) -> Iterator[Problem]:
        """Yield the ways in which its value, as sent, is invalid. Lists and objects are valid."""
        value: Any = text
        if self.schema.type in ("integer", "number", "boolean"):
            with suppress(ValueError):
                value = json.loads(text)
        elif self.schema.type in ("array", "object"):
            return
        for problem in self.schema.problems(value):
            yield evolve(problem, field=self.name)


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
    """Whether it creates tasks: a link says so, or a new task's id is all that it returns."""
    is_poll: bool
    """Whether its response contains the status of a task."""
    polled_by: str = ""
    """The name of the operation that polls the tasks it creates; empty if there is none."""
    task_parameter: str = "taskId"
    """The parameter with the id of the task to poll."""
    makes_images: bool = False
    """Whether the tasks it creates result in images."""

    @property
    def name(self) -> str:
        """The method and path."""
        return f"{self.method} {self.path}"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The prose rules for its parameters and request body."""
        parameters = [
            evolve(rule, place=each.name) for each in self.parameters for rule in each.schema.rules
        ]
        return (*parameters, *(self.request.rules if self.request else ()))


def read_operations(document: Mapping[str, Any]) -> tuple[Operation, ...]:
    """Return the operations of an OpenAPI document, in its order. Raises ContractError."""
    operations = {each.name: each for each in _operations(document)}
    for name, operation in operations.items():
        link = _link(operation, document)
        if link:
            poll = _target(link, document, operations)
            parameter = next(key for key, value in link["parameters"].items() if value == _TASK_ID)
            operations[poll] = evolve(operations[poll], is_poll=True, task_parameter=parameter)
            makes_images = link.get("x-task-result") == "image"
            operations[name] = evolve(
                operation, is_submission=True, polled_by=poll, makes_images=makes_images
            )
    polls = [each for each in operations.values() if each.is_poll]
    for name, operation in operations.items():
        if operation.is_submission and not operation.polled_by and polls:
            nearest = max(
                polls, key=lambda each: len(os.path.commonprefix([each.path, operation.path]))
            )
            operations[name] = evolve(operation, polled_by=nearest.name)
    return tuple(operations.values())


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
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
                        each["name"],
                        each["in"],
                        bool(each.get("required")),
                        Schema(each.get("schema", {}), components),
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


def _link(operation: Operation, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the link from a new task to the operation that polls it, if there is one."""
    responses = document["paths"][operation.path][operation.method.lower()]["responses"]
    links = [
        resolve(link, document)
        for status, response in responses.items()
        if str(status).startswith("2")
        for link in response.get("links", {}).values()
    ]
    return next((each for each in links if _TASK_ID in each.get("parameters", {}).values()), None)


def _target(
    link: Mapping[str, Any], document: Mapping[str, Any], operations: Mapping[str, Operation]
) -> str:
    """Return the name of the operation that a link leads to."""
    wanted = link["operationId"]
    for name, operation in operations.items():
        item = document["paths"][operation.path][operation.method.lower()]
        if item.get("operationId") == wanted:
            return name
    raise ContractError(f"a link leads to the operation {wanted}, which the spec does not have")
