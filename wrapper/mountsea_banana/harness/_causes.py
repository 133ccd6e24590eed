"""Groups failures by what seems to cause them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from ._case import Case
from ._oracle import Verdict
from ._transport import Answer
from ._verify import Complaint

# Beyond so many ways of one kind in one check, they are one cause.
MANY = 3
MAX_EXPLANATIONS = 12


@frozen
class Failure:
    """One answer that breaks the contract."""

    case: Case
    answer: Answer
    complaint: Complaint
    task: str = ""
    """The task that the request named, where it named one."""


@frozen
class Cause:
    """Failures that have one thing in common."""

    id: str
    """Stays the same from run to run: what a baseline lists."""
    title: str
    failures: tuple[Failure, ...] = field(repr=False)
    """The smallest request first."""
    ways: tuple[str, ...] = ()
    """What sets the failing requests apart, where there is more than one way."""

    @property
    def smallest(self) -> Failure:
        return self.failures[0]

    def as_intermittent(self) -> Cause:
        """Return the cause of failures that another try does not show."""
        first = self.smallest
        name = first.case.operation.name
        kind = first.complaint.kind
        return evolve(
            self,
            id=f"{name} {kind} now and then",
            title=f"{name}, now and then, {first.complaint.text}",
            ways=(),
        )


def group(failures: Sequence[Failure], passed: Iterable[Case]) -> list[Cause]:
    """Return the causes of failures; `passed` are the cases whose answers were right."""
    by_kind: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        key = (failure.case.operation.name, failure.complaint.kind)
        by_kind[key].append(failure)
    right: dict[tuple[str, bool], list[set[tuple[str, str]]]] = defaultdict(list)
    for case in passed:
        if case.features:
            right[case.operation.name, False].append(set(case.features.items()))
            if case.verdict is Verdict.ACCEPT:
                right[case.operation.name, True].append(set(case.features.items()))
    causes: list[Cause] = []
    for (name, kind), found in by_kind.items():
        if kind == "answer":
            groups = _by(found, lambda failure: failure.complaint.detail)
        elif kind == "accepted":
            groups = _by_reason(found)
        else:
            groups = _by_feature(found, right[name, kind == "refused"])
        causes += [_cause(name, kind, reason, members) for reason, members in groups]
    return sorted(merge(causes), key=lambda cause: cause.id)


def merge(causes: Iterable[Cause]) -> list[Cause]:
    """Return causes with those of one id joined."""
    joined: dict[str, Cause] = {}
    for cause in causes:
        other = joined.get(cause.id)
        if other:
            cause = evolve(
                other,
                failures=tuple(sorted((*other.failures, *cause.failures), key=_size)),
                ways=tuple(dict.fromkeys((*other.ways, *cause.ways))),
            )
        joined[cause.id] = cause
    return list(joined.values())


def _cause(name: str, kind: str, reason: str, failures: list[Failure]) -> Cause:
    smallest = min(failures, key=_size)
    title = f"{name} {smallest.complaint.text}"
    if kind == "accepted":
        title = f"{name} accepts what it should refuse: {reason}"
    elif kind != "answer" and reason:
        title += f" ({reason})"
    return Cause(
        id=f"{name} {kind} {reason}".strip(),
        title=title,
        failures=tuple(sorted(failures, key=_size)),
        ways=tuple(dict.fromkeys(f.case.what for f in failures if f.case.what)),
    )


Groups = Iterator[tuple[str, list[Failure]]]


def _by(failures: Iterable[Failure], key: Callable[[Failure], str]) -> Groups:
    found: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        found[key(failure)].append(failure)
    yield from found.items()


def _by_reason(failures: Sequence[Failure]) -> Groups:
    """Group accepted bodies by what they break: what breaks much goes with what breaks less."""
    named = [failure for failure in failures if failure.case.what]
    yield from _by_what(named)
    found: dict[frozenset[str], list[Failure]] = {}
    rest = [failure for failure in failures if not failure.case.what]
    for failure in sorted(rest, key=lambda each: len(each.case.judgement.reasons)):
        reasons = failure.case.judgement.reasons
        key = next((known for known in found if known <= reasons), reasons)
        found.setdefault(key, []).append(failure)
    for reasons, members in found.items():
        yield " + ".join(sorted(reasons)), members


def _by_what(failures: Sequence[Failure]) -> Groups:
    for check, members in _by(failures, lambda failure: failure.case.check):
        ways = dict(_by(members, lambda failure: failure.case.what))
        if len(ways) > MANY:
            yield f"{check}, in many ways", members
        else:
            for way, those in ways.items():
                yield f"{check}: {way}", those


def _by_feature(failures: Sequence[Failure], right: Sequence[set[tuple[str, str]]]) -> Groups:
    """Group failures by the few properties that no right answer shares."""
    yield from _by_what([failure for failure in failures if failure.case.what])
    left = sorted((f for f in failures if not f.case.what), key=_size)
    budget = MAX_EXPLANATIONS
    while left and budget:
        names = _explanation(left[0].case.features, right)
        if names is None:
            break
        budget -= 1
        wanted = {(name, left[0].case.features[name]) for name in names}
        members = [each for each in left if wanted <= set(each.case.features.items())]
        yield ", ".join(f"{name} = {value}" for name, value in sorted(wanted)), members
        left = [each for each in left if each not in members]
    if left:
        yield "no common property", left


def _explanation(
    features: Mapping[str, str], right: Sequence[set[tuple[str, str]]]
) -> tuple[str, ...] | None:
    for size in range(4):
        for names in itertools.combinations(features, size):
            wanted = {(name, features[name]) for name in names}
            if not any(wanted <= other for other in right):
                return names
    return None


def _size(failure: Failure) -> tuple[int, str]:
    request = failure.case.request
    return len(request.body or b"") + len(request.target), str(request.body)
