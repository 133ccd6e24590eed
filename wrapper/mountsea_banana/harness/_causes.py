"""Groups failures by their likely cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from attrs import evolve, field, frozen

from ._case import Case
from ._failure import Failure
from ._reasons import MIN_TOTAL, grouped_by, property_of, reasons_of

EVERYWHERE = "every operation"
UNEVEN = "uneven"
# The kinds of violation that one mistake about a property may have at once.
_WAYS = {"accepted": "accepts invalid", "failed": "fails on some", "rejected": "rejects valid"}


@frozen
class Cause:
    """Failures that have one thing in common."""

    id: str
    """Identifies the cause, and is the same in every run. A baseline lists these ids."""
    title: str
    kind: str
    """The kind of its violations."""
    reason: str
    """What its requests have in common."""
    failures: tuple[Failure, ...] = field(repr=False)
    """The failures, smallest request first."""
    variants: tuple[str, ...] = ()
    """How the failing requests differ, if they have different variants."""

    @property
    def smallest(self) -> Failure:
        return self.failures[0]

    @property
    def is_warning(self) -> bool:
        """Whether the contract does not forbid it."""
        return self.smallest.violation.is_warning

    def as_intermittent(self) -> Cause:
        """Return the cause of failures that a retry did not reproduce."""
        first = self.smallest
        name = first.case.operation.name
        kind = first.violation.kind
        return evolve(
            self,
            id=f"{name} {kind} intermittently",
            reason="intermittently",
            title=f"{name} intermittently {first.violation.text}",
            variants=(),
        )


def group(
    failures: Sequence[Failure],
    passed: Iterable[Case],
    rules: Mapping[str, str] = MappingProxyType({}),
) -> list[Cause]:
    """Return the causes of failures.

    `passed` yields the cases without a failure. `rules` has the id of each rule, and the properties
    that it concerns.
    """
    by_operation: dict[str, list[Case]] = defaultdict(list)
    for case in passed:
        by_operation[case.operation.name].append(case)
    if len(failures) >= MIN_TOTAL and not by_operation:
        kind = failures[0].violation.kind
        return [_cause(EVERYWHERE, kind, "every request", list(failures))]
    causes: list[Cause] = []
    for (name, kind, _), members in grouped_by(failures, _subject):
        for reason, found in reasons_of(kind, members, by_operation[name], rules):
            causes.append(_cause(name, kind, reason, found))
    return join(_joined_kinds(merge(causes), rules))


def _subject(failure: Failure) -> tuple[str, str, bool]:
    violation = failure.violation
    return failure.case.operation.name, violation.kind, violation.is_warning


def join(causes: Iterable[Cause]) -> list[Cause]:
    """Return the causes in order, with those that several operations share joined."""
    return sorted(merge(_joined_operations(merge(causes))), key=lambda cause: cause.id)


def merge(causes: Iterable[Cause]) -> list[Cause]:
    """Return the causes, with those that share an id merged into one."""
    merged: dict[tuple[str, bool], Cause] = {}
    for cause in causes:
        other = merged.get((cause.id, cause.is_warning))
        if other:
            cause = evolve(
                other,
                failures=tuple(
                    sorted((*other.failures, *cause.failures), key=lambda each: each.size)
                ),
                variants=tuple(dict.fromkeys((*other.variants, *cause.variants))),
            )
        merged[cause.id, cause.is_warning] = cause
    return list(merged.values())


def _cause(name: str, kind: str, reason: str, failures: list[Failure]) -> Cause:
    smallest = min(failures, key=lambda each: each.size)
    title = f"{name} {smallest.violation.text}"
    if kind == "accepted":
        title = f"{name} accepts a request that it should reject: {reason}"
    elif kind == UNEVEN:
        kinds = sorted({failure.violation.kind for failure in failures})
        title = f"{name} {' and '.join(_WAYS[each] for each in kinds)} values of {reason}"
    elif kind != "response" and reason:
        title += f" ({reason})"
    return Cause(
        id=f"{name} {kind} {reason}".strip(),
        title=title,
        kind=kind,
        reason=reason,
        failures=tuple(sorted(failures, key=lambda each: each.size)),
        variants=tuple(dict.fromkeys(f.case.variant for f in failures if f.case.variant)),
    )


def _joined_operations(causes: Iterable[Cause]) -> Iterator[Cause]:
    """Join the causes that several operations share."""
    for (kind, reason, _), members in grouped_by(
        causes, lambda each: (each.kind, each.reason, each.is_warning)
    ):
        if len(members) == 1:
            yield members[0]
        else:
            yield _cause(EVERYWHERE, kind, reason, [f for each in members for f in each.failures])


def _joined_kinds(causes: Iterable[Cause], rules: Mapping[str, str]) -> Iterator[Cause]:
    """Join the causes of an operation that mistakes the values of a property in several ways."""

    def subject(cause: Cause) -> tuple[str, str]:
        case = cause.smallest.case
        name = property_of(cause.reason, rules)
        is_about_values = cause.kind in _WAYS and set(name.split(" and ")) <= case.features.keys()
        is_joinable = is_about_values and not cause.is_warning
        return case.operation.name, name if is_joinable else cause.id

    for (operation, name), members in grouped_by(causes, subject):
        if len({cause.kind for cause in members}) > 1:
            yield _cause(operation, UNEVEN, name, [f for each in members for f in each.failures])
        else:
            yield from members
