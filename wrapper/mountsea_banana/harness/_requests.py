"""The cases that are not about bodies: keys, queries, methods, and the same request repeated."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import attrs

from mountsea_banana.contract import Contract, Operation, sample

from ._case import BEARER, Case, Request
from ._oracle import Judgement, Verdict

UNAUTHORIZED = frozenset({401, 403})
SILENT = Judgement(Verdict.UNSPECIFIED, says="nothing is answered with a 5xx")

EMPTY = Judgement(Verdict.REJECT, says="an empty object is refused")

# How often one request is repeated, on a connection of its own each time, to see a server that
# fails now and then; the thousands of other requests see it as well.
REPEATS = 250


def plain(contract: Contract, operation: Operation, body: bytes | None) -> Request:
    """Return a request that the operation accepts, if the ids that it names are those of a task."""
    target = operation.path
    query = []
    for parameter in operation.parameters:
        value = (
            "{task}"
            if operation.is_poll
            else quote(str(sample(parameter.schema, contract.document)))
        )
        if parameter.place == "path":
            target = target.replace(f"{{{parameter.name}}}", value)
        elif parameter.place == "query" and parameter.is_required:
            query.append(f"{quote(parameter.name)}={value}")
    headers = (BEARER,) if body is None else (BEARER, ("Content-Type", "application/json"))
    return Request(operation.method, target + "?" * bool(query) + "&".join(query), headers, body)


def keys(operation: Operation, good: Request) -> Iterator[Case]:
    """Give the requests whose key is missing, wrong or in the wrong place."""
    if not operation.is_secured:
        return
    says = Judgement(
        Verdict.REJECT, says="the operation is secured: without the right bearer key it is refused"
    )
    for what, authorization, refusals in _AUTHORIZATIONS:
        headers = () if authorization is None else (("Authorization", authorization),)
        yield _keyless(operation, good, says, what, headers, refusals)
    for name in ("X-API-Key", "Api-Key", "Authorization-Token", "Proxy-Authorization"):
        yield _keyless(operation, good, says, f"the key in {name}", ((name, "{key}"),))
    cookies = (("Cookie", "token={key}; access_token={key}; Authorization=Bearer {key}"),)
    yield _keyless(operation, good, says, "the key in a cookie", cookies)
    for name in ("access_token", "api_key", "key", "token", "authorization"):
        mark = "&" if "?" in good.target else "?"
        target = attrs.evolve(good, target=f"{good.target}{mark}{name}={{key}}")
        yield _keyless(operation, target, says, f"the key in the query, as {name}", ())
    if operation.is_poll:
        foreign = (("Authorization", "Bearer {other}"),)
        yield Case(
            check="keys",
            operation=operation,
            request=attrs.evolve(good, headers=foreign),
            judgement=Judgement(Verdict.REJECT, says="no account sees another's task"),
            what="another account's task",
        )


_AUTHORIZATIONS: tuple[tuple[str, str | None, frozenset[int]], ...] = (
    ("no Authorization header", None, UNAUTHORIZED),
    ("an empty Authorization header", "", UNAUTHORIZED | {400}),
    ("the word Bearer alone", "Bearer", UNAUTHORIZED | {400}),
    ("an empty key", "Bearer ", UNAUTHORIZED | {400}),
    ("another key", "Bearer wrong-token", UNAUTHORIZED),
    ("the word null as the key", "Bearer null", UNAUTHORIZED),
    ("the word undefined as the key", "Bearer undefined", UNAUTHORIZED),
    ("the key with a character more", "Bearer {key}x", UNAUTHORIZED),
    ("the key with a character before", "Bearer x{key}", UNAUTHORIZED),
    ("the key without its last character", "Bearer {cut}", UNAUTHORIZED),
    ("the key in the other case", "Bearer {case}", UNAUTHORIZED),
    ("the key without a scheme", "{key}", UNAUTHORIZED | {400}),
    ("the scheme Basic", "Basic {key}", UNAUTHORIZED | {400}),
    ("the scheme Token", "Token {key}", UNAUTHORIZED | {400}),
    ("the scheme BearerX", "BearerX {key}", UNAUTHORIZED | {400}),
    ("no blank after the scheme", "Bearer{key}", UNAUTHORIZED | {400}),
)


def _keyless(
    operation: Operation,
    good: Request,
    says: Judgement,
    what: str,
    headers: tuple[tuple[str, str], ...],
    refusals: frozenset[int] = UNAUTHORIZED,
) -> Case:
    rest = tuple(header for header in good.headers if header != BEARER)
    request = attrs.evolve(good, headers=(*headers, *rest))
    return Case("keys", operation, request, says, what, refusals=refusals)


def queries(operation: Operation, good: Request) -> Iterator[Case]:
    """Give odd queries, and tasks that do not exist."""
    path = good.target.partition("?")[0]
    unknown = Judgement(Verdict.REJECT, says="a task that does not exist is refused")
    for name in (each.name for each in operation.parameters if each.place == "query"):
        missing = Judgement(Verdict.REJECT, says=f"the query parameter {name} is required")
        for what, query in (("no query", ""), ("another parameter alone", "?other=1")):
            yield _get(operation, path + query, missing, what)
        if operation.is_poll:
            for value in _ODD_VALUES:
                target = f"{path}?{quote(name)}={value}"
                yield _get(operation, target, unknown, f"{name}={value:.60}")
            for query in (
                name,
                f"{name}[]=a",
                f"{name}=a&{name}=b",
                f"&&&{name}=&=",
                f"{name}==",
                f"?{name}=a",
            ):
                yield _get(operation, f"{path}?{query}", unknown, query)
    judgement = SILENT
    if operation.is_submission:
        good = attrs.evolve(good, body=b"{}")
        judgement = EMPTY
    mark = "&" if "?" in good.target else "?"
    for odd in (
        "'",
        "%",
        "%zz",
        "%00",
        "%ff%fe",
        "a=%E0%80%80",
        "&&==&",
        "a[b][c]=1",
        "x=" + "y" * 5000,
    ):
        what = f"{odd:.40} at the end of the query"
        yield _get(operation, good.target + mark + odd, judgement, what, good)


def _get(
    operation: Operation, target: str, judgement: Judgement, what: str, like: Request | None = None
) -> Case:
    request = attrs.evolve(like or Request(operation.method, ""), target=target)
    return Case("queries", operation, request, judgement, what, may_drop=len(target) > 4000)


_ODD_VALUES = (
    "",
    "unknown",
    "0",
    "-1",
    "null",
    "undefined",
    "%20",
    "%00",
    "a%00b",
    "%25",
    "%",
    "%zz",
    "'",
    '%22"',
    "%27%20OR%20%271%27=%271",
    "1;DROP%20TABLE%20tasks",
    "../../../etc/passwd",
    "..%2F..%2Fetc%2Fpasswd",
    "{}",
    "%7B%22$ne%22:null%7D",
    "*",
    "%2A",
    "%E7%8C%AB",
    "%F0%9F%90%88",
    "%ff%fe",
    "%ED%A0%80",
    "{task}x",
    "x{task}",
    "{task}%00",
    "{task}%20x",
    "00000000-0000-0000-0000-000000000000",
    "9" * 400,
    "a" * 8000,
)


def methods(contract: Contract, path: str) -> Iterator[Case]:
    """Give the methods that the spec does not have for a path."""
    known = [each for each in contract.operations if each.path == path]
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"):
        if method not in {operation.method for operation in known}:
            body = b"{}" if method in ("POST", "PUT", "PATCH") else None
            yield Case(
                check="methods",
                operation=known[0],
                request=attrs.evolve(plain(contract, known[0], body), method=method),
                judgement=SILENT,
                what=f"{method} {path}",
                # 501 says that the server does not know the method at all.
                refusals=frozenset({*range(400, 500), 501}),
            )


def repeats(operation: Operation, good: Request) -> Iterator[Case]:
    """Give one request many times, each on a connection of its own."""
    close = attrs.evolve(good, headers=(*good.headers, ("Connection", "close")))
    if operation.is_poll:
        judgement = Judgement(Verdict.ACCEPT, says="a look at a task succeeds, every time")
    else:
        close = attrs.evolve(close, body=b"{}")
        judgement = EMPTY
    if operation.request is not None or operation.is_poll:
        for _ in range(REPEATS):
            yield Case("repeats", operation, close, judgement, "one request, again and again")
