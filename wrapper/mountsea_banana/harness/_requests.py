"""The cases that do not test bodies: keys, queries, methods and repeated requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import attrs

from mountsea_banana.contract import Contract, Operation, Parameter, sample

from . import _values
from ._case import BEARER, ENCODINGS, OTHER_BEARER, REPEATS, Case, Request
from ._oracle import Expectation, Verdict

UNAUTHORIZED = frozenset({401, 403})
UNSPECIFIED = Expectation(Verdict.UNSPECIFIED, explanation="no request gets a 5xx response")
UNDOCUMENTED = Expectation(
    Verdict.UNSPECIFIED, explanation="a documented path does not submit by an undocumented method"
)

REJECT_EMPTY = Expectation(Verdict.REJECT, explanation="an empty object is rejected")
REJECT_BROKEN = Expectation(Verdict.REJECT, explanation="the body is a JSON object")

# How often one request is repeated, each time on a new connection, to find servers that fail
# intermittently. The thousands of other requests help to find them too.
REPETITIONS = 250
ACCEPT_COMPRESSED = ("Accept-Encoding", "gzip, deflate")


def plain(contract: Contract, operation: Operation, body: bytes | None) -> Request:
    """Return a request that the operation accepts if `{task}` is the id of a task."""
    target = operation.path
    query = []
    for parameter in operation.parameters:
        value = (
            "{task}"
            if operation.is_poll and parameter.name == operation.task_parameter
            else quote(str(sample(parameter.schema.schema, contract.document)))
        )
        if parameter.place == "path":
            target = target.replace(f"{{{parameter.name}}}", value)
        elif parameter.place == "query" and parameter.is_required:
            query.append(f"{quote(parameter.name)}={value}")
    headers = (BEARER,) if body is None else (BEARER, ("Content-Type", "application/json"))
    return Request(operation.method, target + "?" * bool(query) + "&".join(query), headers, body)


def invalid(operation: Operation, valid: Request) -> tuple[Request, Expectation]:
    """Return a request with a body that a server rejects, so that it costs nothing."""
    if operation.request and operation.request.is_valid({}):
        return attrs.evolve(valid, body=b"{"), REJECT_BROKEN
    return attrs.evolve(valid, body=b"{}"), REJECT_EMPTY


def keys(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield requests whose key is missing, wrong or in the wrong place."""
    if not operation.is_secured:
        return
    expectation = Expectation(
        Verdict.REJECT,
        explanation="the operation is secured: without a valid bearer key it is rejected",
    )
    for variant, authorization, rejection_statuses in _AUTHORIZATIONS:
        headers = () if authorization is None else (("Authorization", authorization),)
        yield _with_key(operation, valid, expectation, variant, headers, rejection_statuses)
    for name in ("X-API-Key", "Api-Key", "Authorization-Token", "Proxy-Authorization"):
        yield _with_key(operation, valid, expectation, f"the key in {name}", ((name, "{key}"),))
    cookies = (("Cookie", "token={key}; access_token={key}; Authorization=Bearer {key}"),)
    yield _with_key(operation, valid, expectation, "the key in a cookie", cookies)
    for name in ("access_token", "api_key", "key", "token", "authorization"):
        mark = "&" if "?" in valid.target else "?"
        target = attrs.evolve(valid, target=f"{valid.target}{mark}{name}={{key}}")
        yield _with_key(operation, target, expectation, f"the key in the query, as {name}", ())
    if operation.is_poll:
        yield foreign_poll(operation, valid)


def foreign_poll(
    operation: Operation, valid: Request, bearer: tuple[str, str] = OTHER_BEARER
) -> Case:
    """Return a poll of a task by another account than the one that submitted it."""
    expectation = Expectation(
        Verdict.REJECT, explanation="an account cannot see another account's tasks"
    )
    request = attrs.evolve(valid, headers=(bearer,))
    return Case("keys", operation, request, expectation, "another account's task")


_AUTHORIZATIONS: tuple[tuple[str, str | None, frozenset[int]], ...] = (
    ("no Authorization header", None, UNAUTHORIZED),
    ("an empty Authorization header", "", UNAUTHORIZED | {400}),
    ("only the word Bearer", "Bearer", UNAUTHORIZED | {400}),
    ("an empty key", "Bearer ", UNAUTHORIZED | {400}),
    ("a wrong key", "Bearer wrong-token", UNAUTHORIZED),
    ("the word null as the key", "Bearer null", UNAUTHORIZED),
    ("the word undefined as the key", "Bearer undefined", UNAUTHORIZED),
    # Every object in JavaScript has a property of this name.
    ("the word constructor as the key", "Bearer constructor", UNAUTHORIZED),
    ("the key with an extra last character", "Bearer {key}x", UNAUTHORIZED),
    ("the key with an extra first character", "Bearer x{key}", UNAUTHORIZED),
    ("the key without its last character", "Bearer {cut}", UNAUTHORIZED),
    ("the key with upper and lower case swapped", "Bearer {case}", UNAUTHORIZED),
    ("the key without a scheme", "{key}", UNAUTHORIZED | {400}),
    ("the scheme Basic", "Basic {key}", UNAUTHORIZED | {400}),
    ("the scheme Token", "Token {key}", UNAUTHORIZED | {400}),
    ("the scheme BearerX", "BearerX {key}", UNAUTHORIZED | {400}),
    ("no space after the scheme", "Bearer{key}", UNAUTHORIZED | {400}),
)


def _with_key(
    operation: Operation,
    valid: Request,
    expectation: Expectation,
    variant: str,
    headers: tuple[tuple[str, str], ...],
    rejection_statuses: frozenset[int] = UNAUTHORIZED,
) -> Case:
    rest = tuple(header for header in valid.headers if header != BEARER)
    request = attrs.evolve(valid, headers=(*headers, *rest))
    return Case(
        "keys", operation, request, expectation, variant, rejection_statuses=rejection_statuses
    )


def queries(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield unusual queries, and tasks that do not exist."""
    path = valid.target.partition("?")[0]
    unknown = Expectation(
        Verdict.REJECT, explanation="a poll of a task that does not exist is rejected"
    )
    for parameter in operation.parameters:
        if parameter.place != "query":
            continue
        name = parameter.name
        missing = Expectation(Verdict.REJECT, explanation=f"the query parameter {name} is required")
        if parameter.is_required:
            for variant, query in (("no query", ""), ("only another parameter", "?other=1")):
                yield _get(operation, path + query, missing, variant)
        if operation.is_poll and name == operation.task_parameter:
            found = Expectation(Verdict.ACCEPT, explanation="a percent-encoded id is the same id")
            target = f"{path}?{quote(name)}={{encoded_task}}"
            yield _get(operation, target, found, "every character of the id percent-encoded")
            for value in (*_UNKNOWN_IDS, *_ODD_IDS):
                target = f"{path}?{quote(name)}={value}"
                is_odd = value in _ODD_IDS
                yield _get(operation, target, unknown, f"{name}={value:.60}", is_odd=is_odd)
            for query in (
                name,
                f"{name}[]=a",
                f"{name}=a&{name}=b",
                f"&&&{name}=&=",
                f"{name}==",
                f"?{name}=a",
            ):
                yield _get(operation, f"{path}?{query}", unknown, query, is_odd=True)
    expectation = UNSPECIFIED
    if operation.is_submission:
        valid, expectation = invalid(operation, valid)
    mark = "&" if "?" in valid.target else "?"
    for suffix in (
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
        variant = f"{suffix:.40} at the end of the query"
        target = valid.target + mark + suffix
        yield _get(operation, target, expectation, variant, valid, is_odd=suffix != "'")


def has_known_parameters(operation: Operation) -> bool:
    """Return whether the contract names a valid value for every required parameter."""
    return all(
        not parameter.is_required or "enum" in parameter.schema.schema
        for parameter in operation.parameters
    )


def parameters(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield valid and invalid values of each parameter in the query, other than a task's id."""
    path, _, query = valid.target.partition("?")
    for parameter in operation.parameters:
        is_task = operation.is_poll and parameter.name == operation.task_parameter
        if parameter.place != "query" or is_task:
            continue
        name = quote(parameter.name)
        others = [each for each in query.split("&") if each and not each.startswith(f"{name}=")]
        for text in _values.texts(parameter.schema.schema):
            expectation = _parameter_expectation(parameter, text)
            is_certain = expectation.verdict is Verdict.REJECT or has_known_parameters(operation)
            if expectation.verdict is Verdict.UNSPECIFIED or not is_certain:
                continue
            pairs = "&".join([*others, f"{name}={quote(text, safe='')}"])
            yield Case(
                "parameters",
                operation,
                attrs.evolve(valid, target=f"{path}?{pairs}"),
                expectation,
                features={parameter.name: text[:40]},
            )


def _parameter_expectation(parameter: Parameter, text: str) -> Expectation:
    problems = list(parameter.problems(text))
    if not problems:
        is_known = "enum" in parameter.schema.schema or parameter.schema.type == "boolean"
        explanation = f"the query parameter {parameter.name} allows the value"
        verdict = Verdict.ACCEPT if is_known else Verdict.UNSPECIFIED
        return Expectation(verdict, explanation=explanation)
    rules = {rule.id for rule in parameter.schema.rules}
    return Expectation(
        Verdict.REJECT,
        tuple(each.rule for each in problems if each.rule in rules),
        frozenset(
            each.rule if each.rule in rules else f"{parameter.name}:{each.rule}"
            for each in problems
        ),
        "; ".join(f"{parameter.name}: {each.message:.150}" for each in problems),
    )


def _get(
    operation: Operation,
    target: str,
    expectation: Expectation,
    variant: str,
    like: Request | None = None,
    *,
    is_odd: bool = False,
) -> Case:
    request = attrs.evolve(like or Request(operation.method, ""), target=target)
    return Case(
        "queries",
        operation,
        request,
        expectation,
        variant,
        is_odd=is_odd,
        may_disconnect=len(target) > 4000,
    )


_UNKNOWN_IDS = (
    "",
    "unknown",
    "-1",
    "null",
    "undefined",
    "constructor",
    "%20",
    "%25",
    "'",
    "%27%20OR%20%271%27=%271",
    "1;DROP%20TABLE%20tasks",
    "../../../etc/passwd",
    "..%2F..%2Fetc%2Fpasswd",
    "*",
    "%2A",
    "%E7%8C%AB",
    "%F0%9F%90%88",
    "{task}x",
    "x{task}",
    "{task}%20x",
    "{cut_task}",
    "00000000-0000-0000-0000-000000000000",
    "9" * 400,
)
# Bytes and parameters that no client sends.
_ODD_IDS = (
    "%00",
    "a%00b",
    "%",
    "%zz",
    '%22"',
    "{}",
    "%7B%22$ne%22:null%7D",
    "%ff%fe",
    "%ED%A0%80",
    "{task}%00",
    "a" * 8000,
)


def methods(operations: Sequence[Operation], valid: Request) -> Iterator[Case]:
    """Yield requests with methods that the spec does not define for the path of the operations."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"):
        if method not in {operation.method for operation in operations}:
            yield Case(
                check="methods",
                operation=operations[0],
                request=attrs.evolve(valid, method=method),
                expectation=UNDOCUMENTED,
                variant=f"{method} {operations[0].path}",
                is_odd=True,
                # 501 means that the server does not support the method for any path.
                rejection_statuses=frozenset({*range(400, 500), 501}),
            )


def repeats(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield one request many times, each on a new connection."""
    close = attrs.evolve(valid, headers=(*valid.headers, ("Connection", "close")))
    if operation.is_poll:
        expectation = Expectation(Verdict.ACCEPT, explanation="every poll of a task succeeds")
    else:
        close, expectation = invalid(operation, close)
    if operation.request is not None or operation.is_poll:
        for _ in range(REPETITIONS):
            yield Case(REPEATS, operation, close, expectation, "the same request repeatedly")


def compressed(operation: Operation, valid: Request) -> Iterator[Case]:
    """Yield a poll of a task whose response may be compressed."""
    if operation.is_poll:
        request = attrs.evolve(valid, headers=(*valid.headers, ACCEPT_COMPRESSED))
        expectation = Expectation(Verdict.ACCEPT, explanation="every poll of a task succeeds")
        yield Case(ENCODINGS, operation, request, expectation, "a compressed response")


def pairs(operation: Operation, valid: Request, probe: Request) -> Iterator[tuple[Case, Request]]:
    """Yield requests and the ones that follow on the same connection.

    A server may refuse the first without reading its body, or mistake the second for its sequel.
    """
    if not operation.is_submission or valid.body is None:
        return
    without_key = tuple(header for header in valid.headers if header != BEARER)
    text = (BEARER, ("Content-Type", "text/plain"))
    for variant, first, second in (
        ("a request without a key", attrs.evolve(valid, headers=without_key), probe),
        ("a media type other than JSON", attrs.evolve(valid, headers=text, body=b"a cat"), probe),
        ("an unknown path", attrs.evolve(valid, target="/unknown"), probe),
        ("a body that is not JSON", attrs.evolve(valid, body=b"{" * 100), probe),
        ("a HEAD request", attrs.evolve(probe, method="HEAD"), probe),
        ("a request with a key", probe, attrs.evolve(probe, headers=probe.headers[1:])),
    ):
        explanation = "each request on a connection gets a response of its own"
        expectation = Expectation(Verdict.UNSPECIFIED, explanation=explanation)
        yield Case("connections", operation, first, expectation, variant), second
