"""Plans: how the mock responds to a submission and how its task progresses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
from attrs import field, frozen

FINAL_STATUSES = ("completed", "failed", "cancelled", "timeout")
TRIGGERS = ("poll", "time", "hand")

Validator: TypeAlias = "Callable[[object, attrs.Attribute[Any], Any], None]"


def _must_be(description: str, is_valid: Callable[[Any], bool]) -> Validator:
    """Return a validator whose message is readable to users of JSON, not only of Python."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not is_valid(value):
            raise ValueError(f"{attribute.name!r} must be {description}, not {value!r:.100}")

    return validate


def _one_of(*values: str) -> Validator:
    return _must_be(f"{', '.join(values[:-1])} or {values[-1]}", lambda value: value in values)


def _integer(description: str, low: float = -math.inf, high: float = math.inf) -> Validator:
    return _must_be(
        description,
        lambda value: (
            isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        ),
    )


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_text(value: object) -> bool:
    # JSON can hold half of a surrogate pair, which cannot be sent.
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


_boolean = _must_be("true or false", lambda value: isinstance(value, bool))
_text = _must_be("a string", _is_text)


@frozen(kw_only=True)
class Plan:
    """How the mock responds to one submission, and how the task it creates progresses.

    By default the submission is accepted and the third poll returns `completed`. Raises ValueError
    for invalid values.
    """

    ends_as: str = field(default="completed", validator=_one_of(*FINAL_STATUSES))
    """The task's final status: `completed`, `failed`, `cancelled` or `timeout`."""
    advances: str = field(default="poll", validator=_one_of(*TRIGGERS))
    """What advances the task: each poll (`poll`), time (`time`), or calls to `advance` (`hand`)."""
    polls: int = field(default=3, validator=_integer("a positive integer", 1))
    """Which poll returns the final status.

    A task that advances manually starts at the first step, so it needs one call fewer.
    """
    seconds: float = field(default=5.0, validator=_must_be("a number of seconds", _is_duration))
    """The duration of the task in seconds, if `advances` is `time`."""
    shows: str = field(default="", validator=_text)
    """The status until the task ends, instead of `pending` and `processing`.

    It may be a status that is not in the spec.
    """
    error_message: str = field(default="", validator=_text)
    """The `errorMessage` of a task that does not complete. By default it says how the task ends."""
    error_code: int = field(default=1000, validator=_integer("an integer"))
    """The `errorCode` of a task that does not complete."""
    refusals: int = field(default=0, validator=_integer("an integer, 0 or more", 0))
    """How many times the submission is refused before it is accepted."""
    refusal_status: int = field(default=429, validator=_integer("from 400 to 599", 400, 599))
    """The HTTP status of a refusal. 429 and 503 include `Retry-After: 1`."""
    drops: bool = field(default=False, validator=_boolean)
    """Whether to accept and charge the submission, then close the connection without a response."""
    truncates: bool = field(default=False, validator=_boolean)
    """Whether to close the connection halfway through the image."""


def parse_plan(knobs: Mapping[str, Any], base: Plan) -> Plan:
    """Return `base` with these knobs changed. Raises ValueError with every invalid knob.

    `seconds` alone makes the task advance with time, and `polls` alone makes it stop doing so,
    because the knob would otherwise have no effect.
    """
    names = [attribute.name for attribute in attrs.fields(Plan)]
    if "advances" not in knobs:
        if "seconds" in knobs:
            base = attrs.evolve(base, advances="time")
        elif "polls" in knobs and base.advances == "time":
            base = attrs.evolve(base, advances="poll")
    problems = []
    for name, value in knobs.items():
        if name in names:
            try:
                base = attrs.evolve(base, **{name: value})
            except ValueError as error:
                problems.append(str(error))
    if unknown := [f"{name!r:.100}" for name in knobs if name not in names]:
        noun = "knob" if len(unknown) == 1 else "knobs"
        problems.append(f"unknown {noun} {', '.join(unknown)}; valid knobs: {', '.join(names)}")
    if problems:
        raise ValueError("; ".join(problems))
    return base
