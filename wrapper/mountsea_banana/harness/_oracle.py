"""What the contract says of a request body: accept it, reject it, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from mountsea_banana.contract import Contract, Operation, resolve


class Verdict(Enum):
    """What the contract demands of the server."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNSPECIFIED = "unspecified"


@frozen
class Judgement:
    """The verdict on one body, and why."""

    verdict: Verdict
    rules: tuple[str, ...] = ()
    """The ids of the prose rules that the body breaks."""
    reasons: frozenset[str] = frozenset()
    """Everything that it breaks: rule ids, and `field:keyword` for the schema."""
    says: str = "every body that keeps the schema and the rules is accepted"


# Longer than any honest prompt: what a server's limits make of it is its own affair.
LONG = 20_000

# Addresses that every reading of RFC 3986, of the WHATWG standard and of the vendor's sentence
# takes; and the http addresses that none can take, for they name no host. What lies between
# (international characters, blanks, users, IPv6, capitals, ...) servers may read as they like.
_PLAIN_ADDRESS = re.compile(
    r"https?://[a-z0-9-]+(\.[a-z0-9-]+)+(:[1-9]\d{1,3})?"
    r"(/([A-Za-z0-9._~+=,-]|%[2-7][0-9A-F])*)*(\?([A-Za-z0-9._~=&+-]|%[2-7][0-9A-F])*)?"
)
_NO_HOST = re.compile(r"https?:(//)?([?#].*)?", re.IGNORECASE)
_WEB_LIKE = re.compile(r"\W*https?\W*:", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_SETTLED_ADDRESS = "https://example.com/"


class Judge:
    """Judges the bodies of one operation."""

    def __init__(self, contract: Contract, operation: Operation) -> None:
        assert operation.request is not None  # noqa: S101
        self._contract = contract
        self._operation = operation
        self._request = operation.request
        self._schema = resolve(operation.request.schema, contract.document)

    def __call__(self, body: Any) -> Judgement:
        """Return the verdict on a body, as it was parsed from JSON."""
        settled, disputed = _settle(body)
        if self._request.is_valid(settled):
            return Judgement(Verdict.UNSPECIFIED if disputed else Verdict.ACCEPT)
        sentences = {rule.id: rule.sentence for rule in self._contract.rules}
        rules: list[str] = []
        reasons: set[str] = set()
        says: list[str] = []
        for each in self._contract.problems(self._operation, settled):
            if each.rule in sentences:
                rules.append(each.rule)
                reasons.add(each.rule)
                says.insert(0, f"“{sentences[each.rule]}” ({each.rule})")
            else:
                says.append(f"{each.field or 'the body'}: {each.message:.150}")
                if each.rule != "required" or each.field:
                    reasons.add(_reason(each.field, each.rule, settled))
        if isinstance(settled, dict):
            missing = set(self._schema.get("required", [])) - set(settled)
            reasons |= {f"{name}:missing" for name in missing}
        return Judgement(Verdict.REJECT, tuple(rules), frozenset(reasons), "; ".join(says))


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


def _settle(value: Any) -> tuple[Any, bool]:
    """Return a value without its disputed parts, and whether it had any."""
    match value:
        case str():
            if _WEB_LIKE.match(value) and not _NO_HOST.fullmatch(value):
                plain = _PLAIN_ADDRESS.fullmatch(value) and len(value) < 1000
                return (value, False) if plain else (_SETTLED_ADDRESS, True)
            disputed = bool(len(value) > LONG or _CONTROL.search(value))
            return ("text" if disputed and len(value) > LONG else value), disputed
        case float() | int() if not isinstance(value, bool):
            disputed = not math.isfinite(value) or abs(value) > 2**53
            return (1 if disputed else value), disputed
        case list():
            parts = [_settle(each) for each in value]
            return [part for part, _ in parts], any(disputed for _, disputed in parts)
        case Mapping():
            settled = {name: _settle(each) for name, each in value.items()}
            odd_name = any(_CONTROL.search(name) or len(name) > LONG for name in value)
            disputed = odd_name or any(disputed for _, disputed in settled.values())
            return {name: part for name, (part, _) in settled.items()}, disputed
        case _:
            return value, False
