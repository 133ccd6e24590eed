"""Determines from the contract whether a server must accept or reject a request body."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from mountsea_banana.contract import Contract, Operation, resolve


class Verdict(Enum):
    """What the contract requires of the server."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNSPECIFIED = "unspecified"


@frozen
class Expectation:
    """The verdict for one request, and the reasons for it."""

    verdict: Verdict
    violated_rules: tuple[str, ...] = ()
    """The ids of the prose rules that the body violates."""
    reasons: frozenset[str] = frozenset()
    """Everything that the body violates, as rule ids, or `field:keyword` for the schema."""
    explanation: str = "a body that conforms to the schema and the rules is accepted"


# Longer than any realistic prompt. Servers may accept or reject longer text.
LONG = 20_000

# `_PLAIN_URL` matches URLs that are valid under RFC 3986, the WHATWG URL standard and the vendor's
# sentence. `_NO_HOST` matches http URLs without a host, which are invalid under all three. Servers
# may disagree about anything in between: international characters, spaces, user names, IPv6
# addresses.
_PLAIN_URL = re.compile(
    r"(?i:https?)://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[1-9]\d{1,3})?"
    r"(/([A-Za-z0-9._~+=,-]|%[2-7][0-9A-F])*)*(\?([A-Za-z0-9._~=&+-]|%[2-7][0-9A-F])*)?"
)
_NO_HOST = re.compile(r"https?:(//)?([?#].*)?", re.IGNORECASE)
_WEB_LIKE = re.compile(r"\W*https?\W*:", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_UNAMBIGUOUS_URL = "https://example.com/"


class Oracle:
    """Classifies the request bodies of one operation."""

    def __init__(self, contract: Contract, operation: Operation) -> None:
        assert operation.request is not None  # noqa: S101
        self._request = operation.request
        self._schema = resolve(operation.request.schema, contract.document)

    def __call__(self, body: Any) -> Expectation:
        """Return the expectation for a body that was parsed from JSON."""
        resolved, is_ambiguous = _resolve_ambiguity(body)
        if self._request.is_valid(resolved):
            return Expectation(Verdict.UNSPECIFIED if is_ambiguous else Verdict.ACCEPT)
        sentences = {rule.id: rule.sentence for rule in self._request.rules}
        violated_rules: dict[str, None] = {}
        reasons: set[str] = set()
        explanations: list[str] = []
        for problem in self._request.problems(resolved):
            if problem.rule in violated_rules:
                continue
            if problem.rule in sentences:
                violated_rules[problem.rule] = None
                reasons.add(problem.rule)
                explanations.insert(0, f"“{sentences[problem.rule]}” ({problem.rule})")
            else:
                explanations.append(f"{problem.field or 'the body'}: {problem.message:.150}")
                if problem.rule != "required" or problem.field:
                    reasons.add(_reason(problem.field, problem.rule, resolved))
        if isinstance(resolved, dict):
            missing = set(self._schema.get("required", [])) - set(resolved)
            reasons |= {f"{name}:missing" for name in missing}
        return Expectation(
            Verdict.REJECT, tuple(violated_rules), frozenset(reasons), "; ".join(explanations)
        )


def _reason(field: str, keyword: str, body: Any) -> str:
    value = body
    names = field.split(".") if field else []
    for name in names:
        value = value[int(name)] if isinstance(value, list) else value[name]
    if value is None:
        keyword = "null"
    elif isinstance(value, bool) and keyword == "type":
        keyword = "boolean"
    place = ".".join("[]" if name.isdigit() else name for name in names).replace(".[]", "[]")
    return f"{place or 'body'}:{keyword}"


def _resolve_ambiguity(value: Any) -> tuple[Any, bool]:
    """Return a value with its ambiguous parts replaced by valid ones, and whether it had any."""
    match value:
        case str():
            if _WEB_LIKE.match(value) and not _NO_HOST.fullmatch(value):
                is_plain = _PLAIN_URL.fullmatch(value) and len(value) < 1000
                return (value, False) if is_plain else (_UNAMBIGUOUS_URL, True)
            is_ambiguous = bool(len(value) > LONG or _CONTROL.search(value))
            return ("text" if is_ambiguous and len(value) > LONG else value), is_ambiguous
        case float() | int() if not isinstance(value, bool):
            is_ambiguous = not math.isfinite(value) or abs(value) > 2**53
            return (1 if is_ambiguous else value), is_ambiguous
        case list():
            items = [_resolve_ambiguity(item) for item in value]
            return [item for item, _ in items], any(is_ambiguous for _, is_ambiguous in items)
        case Mapping():
            members = {name: _resolve_ambiguity(member) for name, member in value.items()}
            is_ambiguous = any(is_ambiguous for _, is_ambiguous in members.values()) or any(
                _CONTROL.search(name) or len(name) > LONG for name in value
            )
            return {name: member for name, (member, _) in members.items()}, is_ambiguous
        case _:
            return value, False
