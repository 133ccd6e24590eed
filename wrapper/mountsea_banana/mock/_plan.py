"""What the mock is told to do with a submission and with the task that it makes."""

from __future__ import annotations

import math

import attrs
from attrs import field, frozen
from attrs.validators import ge, in_, instance_of, le, lt

ENDS = ("completed", "failed", "cancelled", "timeout")
WAYS = ("poll", "time", "hand")


def _whole(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int:
        raise TypeError(f"'{attribute.name}' must be a whole number, not {value!r:.100}")


@frozen(kw_only=True)
class Plan:
    """How one submission is answered, and how the task that it makes lives.

    Without arguments it is accepted, and the third poll sees it completed. Raises TypeError or
    ValueError for a value that a knob does not take.
    """

    ends_as: str = field(default="completed", validator=in_(ENDS))
    """The task's last status: completed, failed, cancelled or timeout."""
    advances: str = field(default="poll", validator=in_(WAYS))
    """What moves the task on: each poll; time; or `advance`, by hand."""
    polls: int = field(default=3, validator=[_whole, ge(1)])
    """Which poll sees the end. By hand, a task that starts at the first needs one step fewer."""
    seconds: float = field(default=5.0, validator=[instance_of(int | float), ge(0), lt(math.inf)])
    """How long the task takes where time moves it on."""
    shows: str = field(default="", validator=instance_of(str))
    """What it shows in place of `pending` and `processing`, such as a status the spec lacks."""
    refusals: int = field(default=0, validator=[_whole, ge(0)])
    """How often the submission is refused before it is accepted."""
    refusal_status: int = field(default=429, validator=[_whole, ge(400), le(599)])
    """The status of a refusal; 429 and 503 come with `Retry-After: 1`."""
    drops: bool = field(default=False, validator=instance_of(bool))
    """Whether the submission is accepted and charged, and the connection closed unanswered."""
    truncates: bool = field(default=False, validator=instance_of(bool))
    """Whether the connection is closed in the middle of the picture."""


def plan_of(knobs: object) -> Plan:
    """Return the plan in a JSON object; raise ValueError, naming the knobs, where there is none."""
    try:
        return Plan(**knobs)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        names = ", ".join(attribute.name for attribute in attrs.fields(Plan))
        raise ValueError(f"{error.args[0]}; the knobs are {names}") from error
