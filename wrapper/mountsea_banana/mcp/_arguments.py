"""Reading the arguments of a call. Nothing that is wrong with them is a protocol error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from attrs import frozen

from mountsea_banana._shared.text import is_blank, shown
from mountsea_banana.client._errors import InvalidRequest
from mountsea_banana.client._requests import check_task_id
from mountsea_banana.rules._check import check_request
from mountsea_banana.rules._violations import Violation

from . import _schemas

Arguments = Mapping[str, object]

_OWN = ("variant", "check_images")
"""The arguments that are not fields of the request body."""


@frozen
class Call:
    """A valid call of a paid tool."""

    body: dict[str, object]
    """The request body."""
    variant: int
    """Which picture of this request is meant, from 1."""
    checks_images: bool
    """Whether to request the source images first."""


def read_call(action: str, arguments: Arguments, schema: _schemas.Schema) -> Call:
    """Return the call of a paid tool. Raises InvalidRequest with every violation."""
    given = _without_null(arguments)
    fields = {name: given[name] for name in given if name not in ("action", *_OWN)}
    body = {"action": action, **fields}
    violations = check(body, {"action", *schema["properties"]})
    violations += _unknown(given.keys() & {"action"}, schema["properties"])
    prompt = body.get("prompt")
    if isinstance(prompt, str) and is_blank(prompt):
        violations.append(Violation("value", "prompt", "is empty", "say what the image shows"))
    variant = given.get("variant", 1)
    violations += _check_integer("variant", variant, _schemas.MAX_VARIANT)
    checks_images = given.get("check_images", False)
    if not isinstance(checks_images, bool):
        problem = f"must be true or false, not {shown(checks_images)}"
        violations.append(Violation("type", "check_images", problem))
    if violations:
        raise InvalidRequest(violations)
    return Call(body, int(str(variant)), bool(checks_images))


def read_request(arguments: Arguments, schema: _schemas.Schema) -> list[Violation]:
    """Return every violation in the arguments of `check_request`."""
    return check(_without_null(arguments), schema["properties"])


def read_task_id(arguments: Arguments) -> str:
    """Return the id of the task that is asked for. Raises InvalidRequest."""
    _reject_unknown(arguments, ["task_id"])
    return check_task_id(arguments.get("task_id"))


def read_limit(arguments: Arguments) -> int:
    """Return how many tasks to list. Raises InvalidRequest."""
    _reject_unknown(arguments, ["limit"])
    limit = _without_null(arguments).get("limit", _schemas.DEFAULT_TASKS)
    if violations := list(_check_integer("limit", limit, _schemas.MAX_TASKS)):
        raise InvalidRequest(violations)
    return int(str(limit))


def check(body: Arguments, known: Collection[str]) -> list[Violation]:
    """Return every violation in a request body that may have only `known` fields."""
    found = check_request(body)
    at_fault = {violation.field for violation in found}
    return found + [each for each in _unknown(body, known) if each.field not in at_fault]


def _without_null(arguments: Arguments) -> dict[str, object]:
    # Many clients send null for an argument that is left out.
    return {name: value for name, value in arguments.items() if value is not None}


def _reject_unknown(arguments: Arguments, known: Collection[str]) -> None:
    if violations := list(_unknown(arguments, known)):
        raise InvalidRequest(violations)


def _unknown(arguments: Iterable[str], known: Collection[str]) -> Iterator[Violation]:
    for name in arguments:
        if name not in known:
            yield Violation("argument", name, "is not an argument of this tool", "omit it")


def _check_integer(name: str, value: object, high: int) -> Iterator[Violation]:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
        problem = f"must be an integer from 1 to {high}, not {shown(value)}"
        yield Violation("value", name, problem)
