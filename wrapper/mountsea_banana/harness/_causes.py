"""Groups failures by their likely cause."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from attrs import evolve, field, frozen

from ._case import Case
from ._oracle import Verdict
from ._transport import Response
from ._verify import Violation

# A check that fails in more variants than this has one cause, not one per variant.
MAX_VARIANTS = 3
MAX_EXPLANATIONS = 12
# From this number on, failures of all invalid bodies are one cause.
MIN_TOTAL = 20
MIN_RULES = 3
EVERYWHERE = "every operation"
KEYLESS = {"no Authorization header", "an empty key"}
WRONG_KEY = "a wrong key"
_SINGLE = frozenset({"lost", "key rejected", "answered", "connection"})
_BODY_CHECKS = frozenset({"single faults", "generated bodies", "combinations", "malformed bodies"})

T = TypeVar("T")
K = TypeVar("K")


@frozen
class Failure:
    """One response that violates the contract."""

    case: Case
    response: Response
    violation: Violation
    task: str = ""
    """The id of the task in the request, if any."""


Groups: TypeAlias = Iterator[tuple[str, list[Failure]]]


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


def group(failures: Sequence[Failure], passed: Iterable[Case]) -> list[Cause]:
    """Return the causes of failures. `passed` yields the cases without a failure."""
    by_kind: dict[tuple[str, str, bool], list[Failure]] = defaultdict(list)
    for failure in failures:
        violation = failure.violation
        by_kind[failure.case.operation.name, violation.kind, violation.is_warning].append(failure)
    by_operation: dict[str, list[Case]] = defaultdict(list)
    for case in passed:
        by_operation[case.operation.name].append(case)
    causes: list[Cause] = []
    for (name, kind, _), members in by_kind.items():
        for reason, found in _grouped(kind, members, by_operation[name]):
            causes.append(_cause(name, kind, reason, found))
    return sorted(merge(_joined(merge(causes))), key=lambda cause: cause.id)


def _grouped(kind: str, failures: Sequence[Failure], passed: Sequence[Case]) -> Groups:
    if kind == "response":
        yield from _by(failures, lambda failure: failure.violation.detail)
    elif kind in _SINGLE:
        yield "", list(failures)
    else:
        yield from _by_family(kind, failures, passed)


def _by_family(kind: str, failures: Sequence[Failure], passed: Sequence[Case]) -> Groups:
    """Group failures by what was sent: keys, queries and other variants, and bodies."""
    invalid = [failure for failure in failures if failure.case.verdict is Verdict.REJECT]
    bodies = [failure for failure in invalid if failure.case.check in _BODY_CHECKS]
    refused = [case for case in passed if case.verdict is Verdict.REJECT]
    is_total = not any(case.check in _BODY_CHECKS and not case.is_odd for case in refused)
    if (
        is_total
        and len(bodies) >= MIN_TOTAL
        and len(bodies) == len(failures) - _count_keys(failures)
    ):
        yield "every invalid body", bodies
        failures = [failure for failure in failures if failure.case.check not in _BODY_CHECKS]
    yield from _by_variant([failure for failure in failures if failure.case.variant])
    rest = [failure for failure in failures if not failure.case.variant]
    if not rest:
        return
    if all(failure.case.verdict is Verdict.REJECT for failure in rest):
        yield from _by_reason(kind, rest, refused)
    else:
        is_rejected = kind == "rejected"
        comparable = [case for case in passed if case.verdict is Verdict.ACCEPT or not is_rejected]
        yield from _by_feature(rest, comparable)


def _count_keys(failures: Sequence[Failure]) -> int:
    return sum(failure.case.check not in _BODY_CHECKS for failure in failures)


def _by_reason(kind: str, failures: Sequence[Failure], refused: Sequence[Case]) -> Groups:
    """Group responses to invalid bodies by what the bodies violate.

    A body with several violations joins a group whose violations are among its own, if one exists.
    """
    groups: dict[frozenset[str], list[Failure]] = {}
    for failure in sorted(
        failures, key=lambda each: (len(each.case.expectation.reasons), _size(each))
    ):
        reasons = failure.case.expectation.reasons
        key = next((fewer for fewer in groups if fewer <= reasons), reasons)
        groups.setdefault(key, []).append(failure)
    if len(groups) > 1 or kind != "accepted":
        reasons = frozenset().union(*groups)
        comparable = [case for case in refused if case.expectation.reasons <= reasons]
        common = _common_features(failures, comparable)
        if common:
            yield _described(common), list(failures)
            return
    yield from _merged(groups)


def _merged(groups: Mapping[frozenset[str], list[Failure]]) -> Groups:
    """Merge groups of the same keyword, the same property, or of rules only."""
    left = dict(groups)
    for merge_by in (_keyword, _property):
        names = Counter(name for name in map(merge_by, left) if name)
        for name, count in names.items():
            keys = [key for key in left if merge_by(key) == name]
            if count > 1 and len(keys) > 1:
                members = [each for key in keys for each in left.pop(key)]
                left[frozenset({name})] = members
    rules = [key for key in left if all(":" not in reason for reason in key)]
    if len(rules) >= MIN_RULES:
        left[frozenset({"the rules from the prose"})] = [e for key in rules for e in left.pop(key)]
    for reasons, members in left.items():
        yield " + ".join(sorted(reasons)), members


def _keyword(reasons: frozenset[str]) -> str:
    """Return "null" if null is all that is wrong, wherever it is."""
    return "null" if all(reason.endswith(":null") for reason in reasons) else ""


def _property(reasons: frozenset[str]) -> str:
    """Return the property at fault if there is only one."""
    names = {reason.partition(":")[0].partition("[")[0] for reason in reasons if ":" in reason}
    is_one = len(names) == 1 and all(":" in reason for reason in reasons)
    return names.pop() if is_one else ""


def _common_features(
    failures: Sequence[Failure], comparable: Sequence[Case]
) -> list[tuple[str, str]]:
    """Return the features that all failures, and no comparable case, have in common."""
    common = set.intersection(*(set(failure.case.features.items()) for failure in failures))
    others = [set(case.features.items()) for case in comparable]
    for size in (1, 2, 3):
        for wanted in itertools.combinations(sorted(common), size):
            if others and not any(set(wanted) <= other for other in others):
                return list(wanted)
    return []


def _described(features: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(features))


def _joined(causes: Iterable[Cause]) -> Iterator[Cause]:
    """Join causes that several operations share."""
    shared = _by(causes, lambda cause: (cause.kind, cause.reason, cause.is_warning))
    for (kind, reason, _), members in shared:
        if len(members) == 1:
            yield members[0]
        else:
            yield _cause(EVERYWHERE, kind, reason, [f for each in members for f in each.failures])


def merge(causes: Iterable[Cause]) -> list[Cause]:
    """Return the causes, with those that share an id merged into one."""
    merged: dict[tuple[str, bool], Cause] = {}
    for cause in causes:
        other = merged.get((cause.id, cause.is_warning))
        if other:
            cause = evolve(
                other,
                failures=tuple(sorted((*other.failures, *cause.failures), key=_size)),
                variants=tuple(dict.fromkeys((*other.variants, *cause.variants))),
            )
        merged[cause.id, cause.is_warning] = cause
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
        kind=kind,
        reason=reason,
        failures=tuple(sorted(failures, key=_size)),
        variants=tuple(dict.fromkeys(f.case.variant for f in failures if f.case.variant)),
    )


def _by(items: Iterable[T], key: Callable[[T], K]) -> Iterator[tuple[K, list[T]]]:
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    yield from found.items()


def _by_variant(failures: Sequence[Failure]) -> Groups:
    for check, members in _by(failures, lambda failure: failure.case.check):
        variants = dict(_by(members, lambda failure: failure.case.variant))
        if check == "keys" and variants.keys() >= KEYLESS:
            yield "keys: no key is needed", members
        elif check == "keys" and WRONG_KEY in variants and not KEYLESS & variants.keys():
            yield "keys: any key is valid", members
        elif len(variants) > MAX_VARIANTS:
            yield f"{check}: several variants", members
        else:
            for variant, those in variants.items():
                yield f"{check}: {variant}", those


def _by_feature(failures: Sequence[Failure], passed: Sequence[Case]) -> Groups:
    """Group failures by the smallest set of features that no passed case has."""
    passed_features = [set(case.features.items()) for case in passed if case.features]
    rest = sorted(failures, key=_size)
    budget = MAX_EXPLANATIONS
    while rest and budget:
        names = _explanation(rest[0].case.features, passed_features)
        if names is None:
            break
        budget -= 1
        wanted = {(name, rest[0].case.features[name]) for name in names}
        members = [each for each in rest if wanted <= set(each.case.features.items())]
        yield _described(wanted), members
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
