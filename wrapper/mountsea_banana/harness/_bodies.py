"""The bodies of an operation: legal ones, those with one fault, and every combination."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mountsea_banana.contract import Contract, Operation, resolve

from . import _values
from ._case import BEARER, JSON, Case, Request, encode, features
from ._oracle import Judge, Judgement, Verdict

Body = dict[str, Any]

ABSENT = object()

# Up to so many combinations all are sent, which takes seconds; beyond it, every pair is.
MAX_COMBINATIONS = 6_000


class Bodies:
    """Makes the cases of one operation that takes a JSON object."""

    def __init__(self, contract: Contract, operation: Operation) -> None:
        assert operation.request is not None  # noqa: S101
        self._operation = operation
        self._judge = Judge(contract, operation)
        schema = resolve(operation.request.schema, contract.document)
        self.properties: Mapping[str, Mapping[str, Any]] = {
            name: resolve(each, contract.document)
            for name, each in schema.get("properties", {}).items()
        }
        self._required: list[str] = schema.get("required", [])
        self._combined = self._combinations()
        self._legal = sorted(
            (body for body in self._combined if self._judge(body).verdict is Verdict.ACCEPT),
            key=lambda body: (len(body), str(body)),
        )

    def all(self) -> Iterator[Case]:
        """Give every case, each body once."""
        seen: set[bytes] = set()
        for case in itertools.chain(
            self._legal_singles(),
            self._legal_forms(),
            self._texts(),
            self._faults(),
            self._no_objects(),
            self._pairs(),
            self._all_combinations(),
        ):
            key = repr((case.request.body, case.request.headers)).encode()
            if key not in seen:
                seen.add(key)
                yield case

    def case(
        self, check: str, body: Any, what: str = "", judgement: Judgement | None = None
    ) -> Case:
        """Return the case of one body."""
        return Case(
            check=check,
            operation=self._operation,
            request=self._request(encode(body)),
            judgement=judgement or self._judge(body),
            what=what,
            features=features(body, self.properties),
        )

    def _request(self, body: bytes, *headers: tuple[str, str]) -> Request:
        return Request(
            self._operation.method, self._operation.path, (BEARER, *(headers or (JSON,))), body
        )

    def _combinations(self) -> list[Body]:
        """Return every combination of the properties that have few values, or every pair."""
        choices: dict[str, list[Any]] = {}
        for name, schema in self.properties.items():
            values = _values.finite(schema)
            if name in self._required:
                choices[name] = values or _values.legal(schema)[:1] or ["text"]
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
        """Return the smallest legal body that holds the wanted values, or nearly so."""
        for body in self._legal:
            if all(body.get(name, ABSENT) == value for name, value in wanted.items()):
                return body
        return {**(self._legal[0] if self._legal else {}), **wanted}

    def _bases(self) -> list[Body]:
        """Return a small legal body for each value of each property that has few."""
        return [
            self.base(**{name: value})
            for name, schema in self.properties.items()
            for value in _values.finite(schema)
        ]

    def _legal_singles(self) -> Iterator[Case]:
        """Give a small legal body for each value that a property may have."""
        for name, schema in self.properties.items():
            for value in _values.legal(schema):
                body = {**self.base(), name: value}
                if self._judge(body).verdict is not Verdict.ACCEPT:
                    body = self.base(**{name: value})
                if self._judge(body).verdict is not Verdict.ACCEPT:
                    body = {**self.base(**{name: _values.finite(schema)[-1:]}), name: value}
                yield self.case("legal bodies", body)
                if value not in _values.finite(schema):
                    for base in self._bases():
                        body = {**base, name: value}
                        if self._judge(body).verdict is Verdict.ACCEPT:
                            yield self.case("legal bodies", body)
        for body in self._legal[-3:]:
            yield self.case("legal bodies", body)

    def _legal_forms(self) -> Iterator[Case]:
        """Give a legal body in other forms of the same JSON."""
        body = self._legal[-1] if self._legal else {}
        judgement = self._judge(body)
        backwards = dict(reversed(body.items()))
        yield self.case("legal forms", backwards, "the properties in another order", judgement)
        for extra in ({"spec_lacks_it": 1}, {"x": {"y": [None]}}, {"": ""}, {"Prompt": 5}):
            if not extra.keys() & self.properties.keys():
                what = "a property that the spec does not name"
                yield self.case("legal forms", {**body, **extra}, what, judgement)
        encoded = encode(body)
        escaped = "".join(f"\\u{ord(char):04x}" if char.isalpha() else char for char in "A cat")
        forms = {
            "blanks around the JSON": b" \r\n\t" + encoded + b"\n",
            "blanks between its parts": encoded.replace(b',"', b' ,\n  "'),
            "escaped letters": encoded.replace(b"A fluffy orange cat", escaped.encode()),
        }
        for what, form in forms.items():
            yield self._raw("legal forms", what, form, judgement)
        charset = (("Content-Type", "application/json; charset=utf-8"),)
        yield self._raw(
            "legal forms", "a charset in the content type", encoded, judgement, *charset
        )

    def _texts(self) -> Iterator[Case]:
        """Give texts of every kind in every property that takes any text."""
        for name, schema in self.properties.items():
            if schema.get("type") == "string" and not schema.keys() & {"enum", "format"}:
                for what, text in _values.TEXTS.items():
                    yield self.case("texts", {**self.base(), name: text}, f"{name}: {what}")
        nested = b'{"a":' * 200 + b"1" + b"}" * 200
        hopeless = b"[" * 100_000 + b"]" * 100_000
        head = encode(self.base())[:-1]
        silent = Judgement(Verdict.UNSPECIFIED)
        for what, value in (
            ("200 levels deep", nested),
            ("100,000 levels deep", hopeless),
            ("a body of 2 MB", b'"' + b"a" * 2_000_000 + b'"'),
            ("a number beyond every range", b"1e999999"),
            ("a number of 10,000 digits", b"9" * 10_000),
            ("no number", b"NaN"),
        ):
            yield self._raw("texts", what, head + b',"more":' + value + b"}", silent)
        yield self._raw(
            "texts", "bytes that are no UTF-8", head[:12] + b"\xff\xfe\xc0" + head[12:], silent
        )
        yield self._raw("texts", "a byte order mark", b"\xef\xbb\xbf" + encode(self.base()), silent)
        yield self._raw("texts", "UTF-16", encode(self.base()).decode().encode("utf-16"), silent)
        twice = head + b"," + head[1:] + b"}"
        yield self._raw("texts", "every property twice", twice, silent)

    def _faults(self) -> Iterator[Case]:
        """Give bodies with one fault each, all else being legal."""
        for name, schema in self.properties.items():
            for value in _values.odd(schema):
                for context in self._contexts():
                    yield self.case("one fault", self._spoilt(context, name, value))
            for member in schema.get("enum", []):
                for miss in _values.near_misses(member) if isinstance(member, str) else ():
                    yield self.case("one fault", {**self.base(**{name: member}), name: miss})
        for name in self._required:
            for body in (self._legal[0], self._legal[-1]) if self._legal else ():
                rest = {key: value for key, value in body.items() if key != name}
                yield self.case("one fault", rest)

    def _contexts(self) -> list[Body]:
        """Return the values of each required property that has few, one at a time."""
        named = {name: _values.finite(self.properties.get(name, {})) for name in self._required}
        return [{name: value} for name, values in named.items() for value in values] or [{}]

    def _spoilt(self, context: Body, name: str, value: Any) -> Body:
        """Return a body with one odd value that breaks as little else as can be."""
        finite = _values.finite(self.properties[name])
        bases = [self.base(**{name: each, **context}) for each in finite]
        bodies = [{**base, name: value} for base in (self.base(**context), *bases)]
        return min(bodies, key=lambda body: len(self._judge(body).reasons))

    def _no_objects(self) -> Iterator[Case]:
        """Give bodies that are no JSON object, or not said to be one."""
        for value in (None, True, 0, 1.5, "text", "", [], [self.base()]):
            yield self.case("no object", value, "a body that is no object")
        good = encode(self.base())
        for what, form in {
            "an empty body": b"",
            "blanks alone": b"  \n",
            "no JSON": b"prompt=a cat",
            "half of the JSON": good[: len(good) // 2],
            "a JSON cut short by one": good[:-1],
            "text after the JSON": good + b" and more",
            "two JSON values": good + good,
            "a comma too many": good[:-1] + b",}",
            "single quotes": good.replace(b'"', b"'"),
            "a comment": good[:-1] + b"/* no comment */}",
            "unquoted names": b'{prompt: "a cat"}',
        }.items():
            yield self._raw("no object", what, form, _refuse("the body is a JSON object"))
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
            yield self._raw(
                "no object",
                f"the content type {media_type}",
                good,
                _refuse("the content type of a request is application/json"),
                ("Content-Type", media_type),
            )
        yield self._raw(
            "no object",
            "a form in place of JSON",
            b"prompt=a+cat&action=generate",
            _refuse("the content type of a request is application/json"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        )

    def _pairs(self) -> Iterator[Case]:
        """Give every two values of every two properties: legal, absent, null, empty, other."""
        wide = {name: self._wide(name) for name in self.properties}
        for one, other in itertools.combinations(wide, 2):
            for left, right in itertools.product(wide[one], wide[other]):
                if left is ABSENT and right is ABSENT:
                    continue
                body = {**self.base(), **_body({one: [], other: []}, (left, right))}
                for name, value in ((one, left), (other, right)):
                    if value is ABSENT:
                        body.pop(name, None)
                yield self.case("combinations", body)

    def _wide(self, name: str) -> list[Any]:
        schema = self.properties[name]
        values = [ABSENT, *(_values.finite(schema) or _values.legal(schema)[:1]), None, ""]
        match schema.get("type"):
            case "array":
                good = _values.legal(schema.get("items", {}))[:1]
                bad = next(
                    (v for v in _values.odd(schema.get("items", {})) if isinstance(v, str) and v), 5
                )
                return [*values, good * 2, [bad], [*good, bad], [None]]
            case "number" | "integer":
                return [*values, float(schema.get("default", 1)), True, "1"]
        return [*values, "another"]

    def _all_combinations(self) -> Iterator[Case]:
        for body in self._combined:
            yield self.case("combinations", body)

    def _raw(
        self, check: str, what: str, body: bytes, judgement: Judgement, *headers: tuple[str, str]
    ) -> Case:
        return Case(
            check=check,
            operation=self._operation,
            request=self._request(body, *headers),
            judgement=judgement,
            what=what,
            may_drop=len(body) > 50_000,
        )


def _refuse(says: str) -> Judgement:
    return Judgement(Verdict.REJECT, reasons=frozenset({says}), says=says)


def _body(names: Mapping[str, Any], values: Any) -> Body:
    given = zip(names, values, strict=True)
    return {name: value for name, value in given if value is not ABSENT}
