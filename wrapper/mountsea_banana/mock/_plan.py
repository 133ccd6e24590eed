"""Plans: how the mock responds to a submission and how its task progresses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from attrs import field, frozen
from attrs.validators import ge, in_, le, lt

FINAL_STATUSES = ("completed", "failed", "cancelled", "timeout")
TRIGGERS = ("poll", "time", "hand")


def _is_a(
    description: str, *kinds: type, reject: type | None = None
) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Return a validator whose message is readable to users of JSON, not only of Python."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds) or (reject and isinstance(value, reject)):
            raise TypeError(f"'{attribute.name}' must be {description}, not {value!r:.100}")

    return validate


_integer = _is_a("an integer", int, reject=bool)
_number = _is_a("a number of seconds", int, float)
_string = _is_a("a string", str)
_boolean = _is_a("true or false", bool)


@frozen(kw_only=True)
class Plan:
    """How the mock responds to one submission, and how the task it creates progresses.

    By default the submission is accepted and the third poll returns `completed`. Raises TypeError
    or ValueError for invalid values.
    """

    ends_as: str = field(default="completed", validator=in_(FINAL_STATUSES))
    """The task's final status: `completed`, `failed`, `cancelled` or `timeout`."""
    advances: str = field(default="poll", validator=in_(TRIGGERS))
    """What advances the task: each poll (`poll`), time (`time`), or calls to `advance` (`hand`)."""
    polls: int = field(default=3, validator=[_integer, ge(1)])
    """Which poll returns the final status.

    A task that advances manually starts at the first step, so it needs one call fewer.
    """
    seconds: float = field(default=5.0, validator=[_number, ge(0), lt(math.inf)])
    """The duration of the task in seconds, if `advances` is `time`."""
    shows: str = field(default="", validator=_string)
    """The status until the task ends, instead of `pending` and `processing`.

    It may be a status that is not in the spec.
    """
    refusals: int = field(default=0, validator=[_integer, ge(0)])
    """How many times the submission is refused before it is accepted."""
    refusal_status: int = field(default=429, validator=[_integer, ge(400), le(599)])
    """The HTTP status of a refusal. 429 and 503 include `Retry-After: 1`."""
    drops: bool = field(default=False, validator=_boolean)
    """Whether to accept and charge the submission, then close the connection without a response."""
    truncates: bool = field(default=False, validator=_boolean)
    """Whether to close the connection halfway through the image."""


def parse_plan(knobs: Mapping[str, Any]) -> Plan:
    """Return the plan with these knobs. Raises ValueError, which lists the valid knobs."""
    names = [attribute.name for attribute in attrs.fields(Plan)]
    try:
        for name in knobs:
            if name not in names:
                raise ValueError(f"unknown knob {name!r:.100}")
        return Plan(**knobs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{error.args[0]}; valid knobs: {', '.join(names)}") from error
