"""The enumerated bodies of an operation: valid ones, single faults, and every combination."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from mountsea_banana.contract import Contract, Operation, resolve

from . import _values
from ._case import (
    BEARER,
    COMBINATIONS,
    ENCODINGS,
    JSON,
    OBJECT_NAMES,
    OTHER_BEARER,
    TASKS,
    VALID_BODIES,
    Case,
    Request,
    encode,
    features,
)
from ._oracle import Expectation, Oracle, Verdict

Body = dict[str, Any]

ABSENT = object()

_EXTRAS: tuple[Body, ...] = (
    {"spec_lacks_it": 1},
    {"x": {"y": [None]}},
    {"": ""},
    {"Prompt": 5},
    dict.fromkeys(sorted(OBJECT_NAMES), "a"),
)
_JSON_TYPES = (
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    'application/json; charset="utf-8"',
)

# Up to this number, every combination is sent, which takes seconds. Beyond it, only every pair is.
MAX_COMBINATIONS = 6_000


class Bodies:
    """Builds the cases of one operation that takes a JSON object."""

    def __init__(self, contract: Contract, operation: Operation) -> None:
        assert operation.request is not None  # noqa: S101
        self._operation = operation
        self._oracle = Oracle(contract, operation)
        schema = resolve(operation.request.schema, contract.document)
        self.properties: Mapping[str, Mapping[str, Any]] = {
            name: resolve(each, contract.document)
            for name, each in schema.get("properties", {}).items()
        }
        self._required: list[str] = schema.get("required", [])
        self._combined = self._combinations()
        self._valid = sorted(
            (body for body in self._combined if self._oracle(body).verdict is Verdict.ACCEPT),
            key=lambda body: (len(body), str(body)),
        )

    def all_cases(self) -> Iterator[Case]:
        """Yield every case, each body once."""
        seen: set[bytes] = set()
        for case in itertools.chain(
            self._valid_values(),
            self._valid_encodings(),
            self._edge_cases(),
            self._single_faults(),
            self._malformed(),
            self._pairs(),
            self._all_combinations(),
        ):
            key = repr((case.request.body, case.request.headers)).encode()
            if key not in seen:
                seen.add(key)
                yield case

    def case(
        self,
        check: str,
        body: Any,
        variant: str = "",
        expectation: Expectation | None = None,
        *,
        is_odd: bool = False,
    ) -> Case:
        """Return the case for one body."""
        return Case(
            check=check,
            operation=self._operation,
            request=self._request(encode(body)),
            expectation=expectation or self._oracle(body),
            variant=variant,
            features=features(body, self.properties),
            is_odd=is_odd,
        )

    def _request(self, body: bytes, *headers: tuple[str, str]) -> Request:
        return Request(
            self._operation.method, self._operation.path, (BEARER, *(headers or (JSON,))), body
        )

    def _combinations(self) -> list[Body]:
        """Return every combination of the enumerable properties, or every pair if too many."""
        choices: dict[str, list[Any]] = {}
        for name, schema in self.properties.items():
            values = _values.enumerable(schema)
            if name in self._required:
                choices[name] = values or _values.valid(schema)[:1] or ["text"]
            elif values:
                choices[name] = [ABSENT, *values]
        if math.prod(map(len, choices.values())) <= MAX_COMBINATIONS:
            return [_body(choices, values) for values in itertools.product(*choices.values())]
        first = {name: values[0] for name, values in choices.items()}
        return [
            _body(choices, {**first, one: left, other: right}.values())
            for one, other in itertools.combinations(choices, 2)
            for left, right in itertools.product(choices[one], choices[other])
        ]

    def base(self, **wanted: Any) -> Body:
        """Return the smallest valid body with the wanted values.

        If no valid body has them, return the smallest valid body with the values set.
        """
        for body in self._valid:
            if all(body.get(name, ABSENT) == value for name, value in wanted.items()):
                return body
        return {**(self._valid[0] if self._valid else {}), **wanted}

    def _bases(self) -> list[Body]:
        """Return a small valid body for each value of each enumerable property."""
        return [
            self.base(**{name: value})
            for name, schema in self.properties.items()
            for value in _values.enumerable(schema)
        ]

    def tasks(self, count: int) -> Iterator[Case]:
        """Yield valid bodies for tasks to follow, each with a text of its own.

        Together they have as many pairs of values as possible. Every fourth one is small, and
        differs from the others only in its text. Every third one is the second account's.
        """
        names = [name for name, schema in self.properties.items() if _values.is_text(schema)]
        candidates = list(self._valid)
        seen: set[tuple[object, ...]] = set()
        for number in range(1, min(count, len(candidates)) + 1):
            is_small = number % 4 == 0
            body = self.base()
            if not is_small:
                body = max(candidates, key=lambda each: len(_value_pairs(each) - seen))
                candidates.remove(body)
                seen |= _value_pairs(body)
            text = f"A fluffy orange cat, number {number}"
            variant = "differs only in its text" if is_small and names else ""
            case = self.case(TASKS, {**body, **dict.fromkeys(names[:1], text)}, variant)
            bearer = OTHER_BEARER if number % 3 == 0 else BEARER
            headers = (bearer, *case.request.headers[1:])
            yield attrs.evolve(case, request=attrs.evolve(case.request, headers=headers))
            if number == 1:
                yield case  # Each submission is a task of its own, also if it repeats another.

    def _valid_values(self) -> Iterator[Case]:
        """Yield a small valid body for each value that a property may have."""
        for name, schema in self.properties.items():
            for value in _values.valid(schema):
                body = {**self.base(), name: value}
                if self._oracle(body).verdict is not Verdict.ACCEPT:
                    body = self.base(**{name: value})
                if self._oracle(body).verdict is not Verdict.ACCEPT:
                    body = {**self.base(**{name: _values.enumerable(schema)[-1:]}), name: value}
                yield self.case(VALID_BODIES, body)
                if value not in _values.enumerable(schema):
                    for base in self._bases():
                        body = {**base, name: value}
                        if self._oracle(body).verdict is Verdict.ACCEPT:
                            yield self.case(VALID_BODIES, body)
        for body in self._valid[-3:]:
            yield self.case(VALID_BODIES, body)

    def _valid_encodings(self) -> Iterator[Case]:
        """Yield a valid body in other encodings of the same JSON."""
        body = self._valid[-1] if self._valid else {}
        expectation = self._oracle(body)
        backwards = dict(reversed(body.items()))
        yield self.case(ENCODINGS, backwards, "properties in another order", expectation)
        for extra in _EXTRAS:
            if not extra.keys() & self.properties.keys():
                variant = "a property that is not in the spec"
                yield self.case(ENCODINGS, {**body, **extra}, variant, expectation)
        encoded = encode(body)
        escaped = "".join(f"\\u{ord(char):04x}" if char.isalpha() else char for char in "A cat")
        encodings = {
            "whitespace around the JSON": b" \r\n\t" + encoded + b"\n",
            "whitespace inside the JSON": encoded.replace(b',"', b' ,\n  "'),
            "escaped letters": encoded.replace(b"A fluffy orange cat", escaped.encode()),
        }
        for variant, form in encodings.items():
            yield self._raw(ENCODINGS, variant, form, expectation)
        for media_type in _JSON_TYPES:
            variant = "a charset in the content type"
            header = ("Content-Type", media_type)
            yield self._raw(ENCODINGS, variant, encoded, expectation, header)

    def _edge_cases(self) -> Iterator[Case]:
        """Yield unusual text in every free-text property, and unusual JSON."""
        for name, schema in self.properties.items():
            if _values.is_text(schema):
                for variant, text in _values.TEXTS.items():
                    body = {**self.base(), name: text}
                    is_odd = variant in _values.ODD_TEXTS
                    yield self.case("edge cases", body, f"{variant} in {name}", is_odd=is_odd)
        nested = b'{"a":' * 200 + b"1" + b"}" * 200
        very_nested = b"[" * 100_000 + b"]" * 100_000
        head = encode(self.base())[:-1]
        unspecified = Expectation(Verdict.UNSPECIFIED)
        for variant, value in (
            ("nesting 200 levels deep", nested),
            ("nesting 100,000 levels deep", very_nested),
            ("a body of 2 MB", b'"' + b"a" * 2_000_000 + b'"'),
            ("a number out of range", b"1e999999"),
            ("a number of 10,000 digits", b"9" * 10_000),
            ("NaN", b"NaN"),
        ):
            whole = head + b',"more":' + value + b"}"
            yield self._raw("odd JSON", variant, whole, unspecified, is_odd=True)
        for variant, form in (
            ("invalid UTF-8", head + b',"more":"\xff\xfe\xc0"}'),
            ("a byte order mark", b"\xef\xbb\xbf" + head + b"}"),
            ("UTF-16", (head + b"}").decode().encode("utf-16")),
            ("every property twice", head + b"," + head[1:] + b"}"),
        ):
            yield self._raw("odd JSON", variant, form, unspecified, is_odd=True)
        chunked = (JSON, ("Transfer-Encoding", "chunked"))
        expectation = self._oracle(self.base())
        yield self._raw(
            "odd JSON", "a chunked body", head + b"}", expectation, *chunked, is_odd=True
        )

    def _single_faults(self) -> Iterator[Case]:
        """Yield bodies that are valid except for one fault each."""
        for name, schema in self.properties.items():
            for value in _values.unusual(schema):
                for context in self._contexts():
                    yield self.case("single faults", self._with_fault(context, name, value))
            for member in schema.get("enum", []):
                for miss in _values.near_misses(member) if isinstance(member, str) else ():
                    yield self.case("single faults", {**self.base(**{name: member}), name: miss})
        for name in self._required:
            for body in (self._valid[0], self._valid[-1]) if self._valid else ():
                rest = {key: value for key, value in body.items() if key != name}
                yield self.case("single faults", rest)

    def _contexts(self) -> list[Body]:
        """Return a mapping for each value of each enumerable, required property."""
        named = {name: _values.enumerable(self.properties.get(name, {})) for name in self._required}
        return [{name: value} for name, values in named.items() for value in values] or [{}]

    def _with_fault(self, context: Body, name: str, value: Any) -> Body:
        """Return a body with one unusual value and as few other violations as possible."""
        values = _values.enumerable(self.properties[name])
        bases = [self.base(**{name: each, **context}) for each in values]
        bodies = [{**base, name: value} for base in (self.base(**context), *bases)]
        return min(bodies, key=lambda body: len(self._oracle(body).reasons))

    def _malformed(self) -> Iterator[Case]:
        """Yield bodies that are not a JSON object or not declared as one."""
        for value in (None, True, 0, 1.5, "text", "", [], [self.base()]):
            yield self.case("malformed bodies", value, "a body that is not an object")
        valid = encode(self.base())
        for variant, form in {
            "an empty body": b"",
            "only whitespace": b"  \n",
            "not JSON": b"prompt=a cat",
            "the first half of the JSON": valid[: len(valid) // 2],
            "JSON without its last character": valid[:-1],
            "text after the JSON": valid + b" and more",
            "two JSON values": valid + valid,
            "a trailing comma": valid[:-1] + b",}",
            "single quotes": valid.replace(b'"', b"'"),
            "a comment": valid[:-1] + b"/* no comment */}",
            "unquoted names": b'{prompt: "a cat"}',
        }.items():
            if form != valid:
                explanation = "the body is a JSON object"
                yield self._raw("malformed bodies", variant, form, _reject(explanation))
        urlencoded = "application/x-www-form-urlencoded"
        for variant, body, media_type in (
            ("JSON declared as text/plain", valid, "text/plain"),
            ("JSON declared as application/xml", valid, "application/xml"),
            (f"JSON declared as {urlencoded}", valid, urlencoded),
            ("a form instead of JSON", b"prompt=a+cat&action=generate", urlencoded),
        ):
            yield self._raw(
                "media types",
                variant,
                body,
                _reject("the contract has no other media type than application/json"),
                ("Content-Type", media_type),
                is_odd=True,
            )

    def _pairs(self) -> Iterator[Case]:
        """Yield every pair of values of every two properties.

        The values are the valid ones, absent, null, empty and an invalid one.
        """
        values = {name: self._pair_values(name) for name in self.properties}
        for one, other in itertools.combinations(values, 2):
            for left, right in itertools.product(values[one], values[other]):
                if left is ABSENT and right is ABSENT:
                    continue
                body = {**self.base(), **_body({one: [], other: []}, (left, right))}
                for name, value in ((one, left), (other, right)):
                    if value is ABSENT:
                        body.pop(name, None)
                yield self.case(COMBINATIONS, body)

    def _pair_values(self, name: str) -> list[Any]:
        schema = self.properties[name]
        values = [ABSENT, *(_values.enumerable(schema) or _values.valid(schema)[:1]), None, ""]
        match schema.get("type"):
            case "array":
                valid = _values.valid(schema.get("items", {}))[:1]
                unusual = _values.unusual(schema.get("items", {}))
                bad = next((value for value in unusual if isinstance(value, str) and value), 5)
                return [*values, valid * 2, [bad], [*valid, bad], [None]]
            case "number" | "integer":
                return [*values, float(schema.get("default", 1)), True, "1"]
        return [*values, "another"]

    def _all_combinations(self) -> Iterator[Case]:
        for body in self._combined:
            yield self.case(COMBINATIONS, body)

    def _raw(
        self,
        check: str,
        variant: str,
        body: bytes,
        expectation: Expectation,
        *headers: tuple[str, str],
        is_odd: bool = False,
    ) -> Case:
        return Case(
            check=check,
            operation=self._operation,
            request=self._request(body, *headers),
            expectation=expectation,
            variant=variant,
            features=features(_parsed(body), self.properties) if not is_odd else {},
            is_odd=is_odd,
            may_disconnect=len(body) > 50_000,
        )


def _parsed(body: bytes) -> Any:
    """Return the JSON object in a body, or None."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _reject(explanation: str) -> Expectation:
    return Expectation(Verdict.REJECT, reasons=frozenset({explanation}), explanation=explanation)


def _body(names: Mapping[str, Any], values: Any) -> Body:
    given = zip(names, values, strict=True)
    return {name: value for name, value in given if value is not ABSENT}


def _value_pairs(body: Body) -> set[tuple[object, ...]]:
    """Return every value of a body, and every pair of values."""
    values = [(name, repr(value)) for name, value in sorted(body.items())]
    sizes = (itertools.combinations(values, size) for size in (1, 2))
    return {*itertools.chain.from_iterable(sizes)}
