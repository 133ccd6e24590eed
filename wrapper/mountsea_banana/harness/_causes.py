"""Groups failures by their likely cause."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from ._case import Case
from ._oracle import Verdict
from ._transport import Response
from ._verify import Violation

# A check that fails in more variants than this has one cause, not one per variant.
MAX_VARIANTS = 3
MAX_EXPLANATIONS = 12


@frozen
class Failure:
    """One response that violates the contract."""

    case: Case
    response: Response
    violation: Violation
    task: str = ""
    """The id of the task in the request, if any."""


@frozen
class Cause:
    """Failures that have one thing in common."""

    id: str
    """Identifies the cause, and is the same in every run. A baseline lists these ids."""
    title: str
    failures: tuple[Failure, ...] = field(repr=False)
    """The failures, smallest request first."""
    variants: tuple[str, ...] = ()
    """How the failing requests differ, if they have different variants."""

    @property
    def smallest(self) -> Failure:
        return self.failures[0]

    def as_intermittent(self) -> Cause:
        """Return the cause of failures that a retry did not reproduce."""
        first = self.smallest
        name = first.case.operation.name
        kind = first.violation.kind
        return evolve(
            self,
            id=f"{name} {kind} intermittently",
            title=f"{name} intermittently {first.violation.text}",
            variants=(),
        )


def group(failures: Sequence[Failure], passed: Iterable[Case]) -> list[Cause]:
    """Return the causes of failures. `passed` yields the cases without a failure."""
    by_kind: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        key = (failure.case.operation.name, failure.violation.kind)
        by_kind[key].append(failure)
    passed_features: dict[tuple[str, bool], list[set[tuple[str, str]]]] = defaultdict(list)
    for case in passed:
        if case.features:
            passed_features[case.operation.name, False].append(set(case.features.items()))
            if case.verdict is Verdict.ACCEPT:
                passed_features[case.operation.name, True].append(set(case.features.items()))
    causes: list[Cause] = []
    for (name, kind), members in by_kind.items():
        if kind == "response":
            groups = _by(members, lambda failure: failure.violation.detail)
        elif kind == "accepted":
            groups = _by_reason(members)
        else:
            groups = _by_feature(members, passed_features[name, kind == "rejected"])
        causes += [_cause(name, kind, reason, found) for reason, found in groups]
    return sorted(merge(causes), key=lambda cause: cause.id)


def merge(causes: Iterable[Cause]) -> list[Cause]:
    """Return the causes, with those that share an id merged into one."""
    merged: dict[str, Cause] = {}
    for cause in causes:
        other = merged.get(cause.id)
        if other:
            cause = evolve(
                other,
                failures=tuple(sorted((*other.failures, *cause.failures), key=_size)),
                variants=tuple(dict.fromkeys((*other.variants, *cause.variants))),
            )
        merged[cause.id] = cause
    return list(merged.values())


def _cause(name: str, kind: str, reason: str, failures: list[Failure]) -> Cause:
    smallest = min(failures, key=_size)
    title = f"{name} {smallest.violation.text}"
    if kind == "accepted":
        title = f"{name} accepts a request that it should reject: {reason}"
    elif kind != "response" and reason:
        title += f" ({reason})"
    return Cause(
        id=f"{name} {kind} {reason}".strip(),
        title=title,
        failures=tuple(sorted(failures, key=_size)),
        variants=tuple(dict.fromkeys(f.case.variant for f in failures if f.case.variant)),
    )


Groups = Iterator[tuple[str, list[Failure]]]


def _by(failures: Iterable[Failure], key: Callable[[Failure], str]) -> Groups:
    found: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        found[key(failure)].append(failure)
    yield from found.items()


def _by_reason(failures: Sequence[Failure]) -> Groups:
    """Group accepted bodies by what they violate.

    A body with several violations joins a group whose violations are among its own, if one exists.
    """
    yield from _by_variant([failure for failure in failures if failure.case.variant])
    groups: dict[frozenset[str], list[Failure]] = {}
    rest = [failure for failure in failures if not failure.case.variant]
    for failure in sorted(rest, key=lambda each: len(each.case.expectation.reasons)):
        reasons = failure.case.expectation.reasons
        key = next((fewer for fewer in groups if fewer <= reasons), reasons)
        groups.setdefault(key, []).append(failure)
    for reasons, members in groups.items():
        yield " + ".join(sorted(reasons)), members


def _by_variant(failures: Sequence[Failure]) -> Groups:
    for check, members in _by(failures, lambda failure: failure.case.check):
        variants = dict(_by(members, lambda failure: failure.case.variant))
        if len(variants) > MAX_VARIANTS:
            yield f"{check}: several variants", members
        else:
            for variant, those in variants.items():
                yield f"{check}: {variant}", those


def _by_feature(
    failures: Sequence[Failure], passed_features: Sequence[set[tuple[str, str]]]
) -> Groups:
    """Group failures by the smallest set of features that no passed case has."""
    yield from _by_variant([failure for failure in failures if failure.case.variant])
    rest = sorted((f for f in failures if not f.case.variant), key=_size)
    budget = MAX_EXPLANATIONS
    while rest and budget:
        names = _explanation(rest[0].case.features, passed_features)
        if names is None:
            break
        budget -= 1
        wanted = {(name, rest[0].case.features[name]) for name in names}
        members = [each for each in rest if wanted <= set(each.case.features.items())]
        yield ", ".join(f"{name} = {value}" for name, value in sorted(wanted)), members
        rest = [each for each in rest if each not in members]
    if rest:
        yield "no common property", rest


def _explanation(
    features: Mapping[str, str], passed_features: Sequence[set[tuple[str, str]]]
) -> tuple[str, ...] | None:
    """Return the names of at most three features that together occur in no passed case."""
    for size in range(4):
        for names in itertools.combinations(features, size):
            wanted = {(name, features[name]) for name in names}
            if not any(wanted <= other for other in passed_features):
                return names
    return None


def _size(failure: Failure) -> tuple[int, str]:
    request = failure.case.request
    return len(request.body or b"") + len(request.target), str(request.body)
