"""Checking a request against every rule, and encoding it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen

from mountsea_banana._shared.text import shown

from ._fields import Body, check_fields
from ._rules import RULES
from ._violations import Violation

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

_UNSENDABLE = object()


@frozen
class CheckedRequest:
    """A request, encoded and checked: what was checked is what is sent."""

    content: bytes = field(repr=False)
    """The JSON of the request body. Send it only if there are no violations."""
    body: Body
    """The request body as a server parses it."""
    violations: list[Violation]
    """Every violation in the request."""


def check_request(request: NanoImageDto | Mapping[str, object]) -> list[Violation]:
    """Return every violation in `request`, of the types in the spec and of the rules in its prose.

    `request` is a `mountsea_api.models.NanoImageDto` or a mapping with the fields of the request
    body. Whatever it contains, nothing is sent and nothing is raised. Fields that are not in the
    spec are allowed.
    """
    return encode_and_check(request).violations


def encode_and_check(request: object) -> CheckedRequest:
    """Encode `request` as JSON and check it; return both results. Never raises."""
    body: dict[str, object] = {}
    parts: dict[str, bytes] = {}
    violations: list[Violation] = []
    try:
        fields = _fields(request)
    except Exception:  # a mapping can raise anything
        problem = f"must be a NanoImageDto or a mapping of fields, not {shown(request)}"
        return CheckedRequest(b"", body, [Violation("type", "", problem)])
    for name, value in fields.items():
        if not isinstance(name, str):
            problem = "is used as a field's name, but names must be strings"
            violations.append(Violation("type", shown(name), problem))
            continue
        name = str.__str__(name)  # a subclass may compare and print in ways of its own
        try:
            # UTF-8 rejects lone surrogates, which JSON's escapes would let through.
            part = json.dumps({name: value}, allow_nan=False, ensure_ascii=False).encode()
            body.update(json.loads(part))
            parts[name] = part[1:-1]
        except Exception as error:  # the methods of a subclass can raise anything
            problem = f"cannot be sent as JSON in UTF-8: {error}"
            violations.append(Violation("type", name, problem))
            body[name] = _UNSENDABLE
    unsendable = {violation.field for violation in violations}
    violations += [found for found in check_fields(body) if found.field not in unsendable]
    for rule in RULES:
        violations += rule.check(body)
    return CheckedRequest(b"{" + b", ".join(parts.values()) + b"}", body, violations)


def _fields(request: object) -> Mapping[object, object]:
    from mountsea_api.models import NanoImageDto

    fields = request.to_dict() if isinstance(request, NanoImageDto) else request
    if isinstance(fields, Mapping):
        return dict(fields)
    raise TypeError
