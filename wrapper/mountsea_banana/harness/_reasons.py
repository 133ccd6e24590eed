"""Finds what failing requests have in common."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from ._case import COMBINATIONS, GENERATED, Case
from ._failure import Failure
from ._oracle import Verdict

# A check that fails in more variants than this has one cause, not one per variant.
MAX_VARIANTS = 3
MAX_EXPLANATIONS = 12
# From this number on, failures of all invalid bodies are one cause.
MIN_TOTAL = 20
# A server that responds wrongly to more kinds of invalid body does so to all that reach it.
MAX_KINDS = 2
MANY = "many kinds of invalid body"
PROSE = "the rules from the prose"
REFUSALS = "every request that must be rejected"
LONG_BODIES = "long bodies"
TYPES = "other types in several properties"
_TYPE_KEYWORDS = frozenset({"type", "boolean", "null"})
KEYLESS = {"no Authorization header", "an empty key"}
WRONG_KEY = "a wrong key"
_SINGLE = frozenset({"lost", "key rejected", "answered", "connection"})
_BODY_CHECKS = frozenset({"single faults", GENERATED, COMBINATIONS, "malformed bodies"})

T = TypeVar("T")
K = TypeVar("K")

Features: TypeAlias = frozenset[tuple[str, str]]
Group: TypeAlias = tuple[str, list[Failure]]
Groups: TypeAlias = Iterator[Group]


def reasons_of(
    kind: str, failures: Sequence[Failure], passed: Sequence[Case], rules: Mapping[str, str]
) -> Groups:
    """Yield the failures of one kind in groups of what their requests have in common."""
    if kind == "response":
        yield from grouped_by(failures, lambda failure: failure.violation.detail)
        return
    if kind in _SINGLE:
        yield "", list(failures)
        return
    refused = [case for case in passed if case.verdict is Verdict.REJECT]
    if kind == "failed" and _is_every_refusal(failures, refused):
        yield REFUSALS, list(failures)
        return
    if kind == "rejected" and _are_too_large(failures):
        yield LONG_BODIES, list(failures)
        return
    bodies = [each for each in failures if each.case.check in _BODY_CHECKS]
    if _is_total(bodies, refused):
        yield "every invalid body", bodies
        failures = [each for each in failures if each.case.check not in _BODY_CHECKS]
    described = [each for each in failures if each.case.features]
    # Where the contract leaves a body open, its failure follows from the others, if there are any.
    decided = [each for each in described if each.case.verdict is not Verdict.UNSPECIFIED]
    described = decided or described
    unexplained = [each for each in failures if not each.case.features]
    if all(each.case.verdict is Verdict.REJECT for each in described):
        for reason, members in _by_reason(kind, described, refused, rules):
            if reason == MANY:
                members += [each for each in unexplained if each.case.check != "keys"]
                unexplained = [each for each in unexplained if each.case.check == "keys"]
            yield reason, members
    else:
        accepted = [case for case in passed if case.verdict is Verdict.ACCEPT]
        unexplained += yield from _by_feature(described, accepted if kind == "rejected" else passed)
    by_check = list(_by_variant(unexplained))
    if kind == "accepted":
        yield from by_check
    elif by_check:
        yield " and ".join(reason for reason, _ in by_check), unexplained


def _is_every_refusal(failures: Sequence[Failure], refused: Sequence[Case]) -> bool:
    """Return whether these failures are those of all requests to reject, and of no valid one."""
    is_invalid = all(failure.case.verdict is not Verdict.ACCEPT for failure in failures)
    return len(failures) >= MIN_TOTAL and is_invalid and not refused


def _are_too_large(failures: Sequence[Failure]) -> bool:
    """Return whether the server says of several bodies that they are too large."""
    lengths = {len(failure.case.request.body or b"") for failure in failures}
    return len(lengths) > 1 and {failure.response.status for failure in failures} == {413}


def _is_total(bodies: Sequence[Failure], refused: Iterable[Case]) -> bool:
    """Return whether these failures are those of all invalid bodies, and of no valid one."""
    is_invalid = all(failure.case.verdict is not Verdict.ACCEPT for failure in bodies)
    is_all = not any(case.check in _BODY_CHECKS and not case.is_odd for case in refused)
    return len(bodies) >= MIN_TOTAL and is_invalid and is_all


def _by_reason(
    kind: str, failures: Sequence[Failure], refused: Sequence[Case], rules: Mapping[str, str]
) -> Groups:
    """Group responses to invalid bodies by what the bodies violate.

    A body with several violations joins a group whose violations are among its own, if one exists.
    """
    groups: dict[frozenset[str], list[Failure]] = {}
    for failure in sorted(failures, key=lambda each: len(each.case.expectation.reasons)):
        reasons = failure.case.expectation.reasons
        key = next((fewer for fewer in groups if fewer <= reasons), reasons)
        groups.setdefault(key, []).append(failure)
    if _are_types_of_several(groups, rules):
        yield TYPES, list(failures)
        return
    named = [(" + ".join(sorted(reasons)), members) for reasons, members in groups.items()]
    named = _renamed(named, lambda reason: property_of(reason, rules))
    named = _renamed(named, _keyword_of)
    if len(named) > 1 or (named and kind != "accepted"):
        if kind == "accepted":
            violated = frozenset[str]().union(*groups)
            refused = [case for case in refused if case.expectation.reasons <= violated]
        common = _common_features(failures, refused)
        if common:
            yield _described([common]), list(failures)
            return
    if len(named) > MAX_KINDS:
        is_prose = all(name in rules for name, _ in named)
        yield PROSE if is_prose else MANY, list(failures)
    else:
        yield from named


def _are_types_of_several(groups: Iterable[frozenset[str]], rules: Mapping[str, str]) -> bool:
    """Return whether all reasons are about types, of more than one kind and property."""
    reasons = frozenset[str]().union(*groups)
    keywords = {reason.partition(":")[2] for reason in reasons}
    properties = {property_of(reason, rules) for reason in reasons}
    return len(keywords) > 1 and keywords <= _TYPE_KEYWORDS and len(properties) > 1


def _renamed(groups: Iterable[Group], rename: Callable[[str], str]) -> list[Group]:
    """Merge the groups that get the same new name. A group of its own keeps its name."""
    return [
        (name if len(same) > 1 else same[0][0], [each for _, members in same for each in members])
        for name, same in grouped_by(groups, lambda group: rename(group[0]) or group[0])
    ]


def property_of(reason: str, rules: Mapping[str, str]) -> str:
    """Return the property, or the properties, that a reason is about."""
    names: set[str] = set()
    for part in re.split(r" \+ |, ", reason):
        own = re.split(r":| = |\[| length| with | over ", part)[0]
        names |= {*rules.get(part, own).split(" and ")}
    return " and ".join(sorted(names))


def _keyword_of(reason: str) -> str:
    """Return what is wrong with a property, such as null, if only one thing is."""
    keywords = {part.partition(":")[2] for part in reason.split(" + ")}
    keyword = keywords.pop() if len(keywords) == 1 else ""
    return keyword and f"{keyword} in several properties"


def _common_features(failures: Sequence[Failure], comparable: Sequence[Case]) -> Features:
    """Return the features that all failures, and no comparable case, have in common."""
    common = set.intersection(*(set(failure.case.features.items()) for failure in failures))
    others = [set(case.features.items()) for case in comparable]
    for size in (1, 2, 3):
        for wanted in itertools.combinations(sorted(common), size):
            if others and not any(set(wanted) <= other for other in others):
                return frozenset(wanted)
    return frozenset()


def _described(groups: Iterable[Features]) -> str:
    """Return a description of groups of features, such as `action = "edit", resolution = …`."""
    values: dict[str, set[str]] = defaultdict(set)
    for features in groups:
        for name, value in features:
            values[name].add(value)
    return ", ".join(f"{name} = {' or '.join(sorted(values[name]))}" for name in sorted(values))


def _by_variant(failures: Sequence[Failure]) -> Groups:
    """Group failures by their check, and name the variants."""
    for check, members in grouped_by(failures, lambda failure: failure.case.check):
        variants = list(dict.fromkeys(failure.case.variant for failure in members))
        if check == "keys" and set(variants) >= KEYLESS:
            yield "keys: no key is needed", members
        elif check == "keys" and WRONG_KEY in variants:
            yield "keys: any key is valid", members
        elif len(variants) > MAX_VARIANTS:
            yield f"{check}: several variants", members
        else:
            yield f"{check}: {'; '.join(variants)}".removesuffix(": "), members


def _by_feature(
    failures: Sequence[Failure], passed: Sequence[Case]
) -> Generator[Group, None, list[Failure]]:
    """Group failures by the smallest set of features that no passed case has.

    Return the failures that have no such set.
    """
    passed_features = [set(case.features.items()) for case in passed if case.features]
    explained: list[tuple[Features, list[Failure]]] = []
    unexplained: list[Failure] = []
    # Generated values are the least likely to be what fails.
    rest = sorted(failures, key=lambda each: (each.case.check == GENERATED, each.size))
    while rest and len(explained) < MAX_EXPLANATIONS:
        first = rest[0]
        wanted = _explanation(first, rest, passed_features)
        if wanted is None:
            unexplained.append(rest.pop(0))
            continue
        explained.append((wanted, [e for e in rest if wanted <= set(e.case.features.items())]))
        rest = [each for each in rest if not wanted <= set(each.case.features.items())]
    for _, same in grouped_by(
        explained, lambda each: frozenset(_base(name) for name, _ in each[0])
    ):
        members = [failure for _, found in same for failure in found]
        yield _described(features for features, _ in same), members
    unexplained += rest
    plain = [failure for failure in unexplained if not failure.case.variant]
    if plain:
        yield "no common property", plain
    return [failure for failure in unexplained if failure.case.variant]


def _base(name: str) -> str:
    """Return the property that a feature describes."""
    return name.partition("[")[0].partition(" ")[0]


def _explanation(
    first: Failure, failures: Sequence[Failure], passed_features: Sequence[set[tuple[str, str]]]
) -> Features | None:
    """Return at most three features of a failure that together occur in no passed case.

    Of as few features as possible, those that occur in the most failures.
    """
    described = [set(failure.case.features.items()) for failure in failures]
    for size in range(4):
        found = [
            frozenset(wanted)
            for wanted in itertools.combinations(first.case.features.items(), size)
            if not any(set(wanted) <= other for other in passed_features)
        ]
        if found:
            return max(found, key=lambda wanted: sum(wanted <= other for other in described))
    return None


def grouped_by(items: Iterable[T], key: Callable[[T], K]) -> Iterator[tuple[K, list[T]]]:
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    yield from found.items()
