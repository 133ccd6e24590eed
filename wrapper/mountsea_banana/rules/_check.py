"""Checking a request against every rule, and encoding it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from mountsea_banana._shared.text import shown

from ._fields import Body, check_fields
from ._rules import RULES
from ._violations import Violation

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

_UNSENDABLE = object()
_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


@frozen
class CheckedRequest:
    """A request, encoded and checked: what was checked is what is sent."""

    content: bytes = field(repr=False)
    """The JSON of the request body. Send it only if there are no violations."""
    body: Body
    """The request body as a server parses it."""
    violations: list[Violation]
    """Every violation in the request."""

    @property
    def canonical(self) -> bytes:
        """The JSON of the request body, whatever the order of its fields.

        Ledgers and batches recognise a request by it: if it changed, they would pay again.
        """
        return json.dumps(self.body, sort_keys=True, separators=(",", ":")).encode()


def check_request(request: NanoImageDto | Mapping[str, object]) -> list[Violation]:
    """Return every violation in `request`, of the types in the spec and of the rules in its prose.

    `request` is a `mountsea_api.models.NanoImageDto` or a mapping with the fields of the request
    body. Whatever it contains, nothing is sent and nothing is raised. Fields that are not in the
    spec are allowed.
    """
    return encode_and_check(request).violations


def encode_and_check(request: object) -> CheckedRequest:
    """Encode `request` as JSON and check it; return both results. Never raises."""
    try:
        given = _fields(request)
    except Exception:  # a mapping can raise anything
        problem = f"must be a NanoImageDto or a mapping of fields, not {shown(request)}"
        return CheckedRequest(b"", {}, [Violation("type", "", problem)])
    # A subclass of str may compare and print in ways of its own.
    fields = {str.__str__(name): value for name, value in given.items() if isinstance(name, str)}
    violations: list[Violation] = []
    try:
        content, body = _encode(fields)
    except Exception:  # the methods of a subclass can raise anything
        content, body, violations = _encode_each(fields)
    violations += [_misnamed(name) for name in given if not isinstance(name, str)]
    at_fault = {violation.field for violation in violations}
    violations += [found for found in check_fields(body) if found.field not in at_fault]
    violations += [Violation(rule.id, *fault) for rule in RULES for fault in rule.faults(body)]
    return CheckedRequest(content, body, violations)


def _encode(fields: Mapping[str, object]) -> tuple[bytes, dict[str, object]]:
    """Return the JSON of fields, and what it parses to. Raises if a field cannot be sent."""
    text = _encoder.encode(fields)
    # UTF-8 rejects lone surrogates, which JSON's escapes would let through.
    return text.encode(), json.loads(text)


def _encode_each(
    fields: Mapping[str, object],
) -> tuple[bytes, dict[str, object], list[Violation]]:
    """Do the same field by field, and return a violation for each that cannot be sent."""
    body: dict[str, object] = {}
    violations: list[Violation] = []
    for name, value in fields.items():
        try:
            body |= _encode({name: value})[1]
        except Exception as error:
            problem = f"cannot be sent as JSON in UTF-8: {error}"
            violations.append(Violation("type", name, problem))
            body[name] = _UNSENDABLE
    return b"" if violations else _encode(body)[0], body, violations


def _misnamed(name: object) -> Violation:
    problem = "is used as a field's name, but names must be strings"
    return Violation("type", shown(name), problem)


def _fields(request: object) -> Mapping[Any, object]:
    if isinstance(request, Mapping):
        return dict(request)
    from mountsea_api.models import NanoImageDto

    if isinstance(request, NanoImageDto):
        return dict(request.to_dict())  # whatever a subclass returns
    raise TypeError
