"""Reports the result of a run on the terminal, as JUnit XML for CI, and as an HTML page."""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from mountsea_banana._shared.files import part_of
from mountsea_banana.contract import Operation, resolve

from ._case import COMBINATIONS, VALID_BODIES, Case
from ._causes import Cause
from ._har import har
from ._oracle import Verdict
from ._outcome import Outcome
from ._transport import Response

MAX_SHOWN_CHARACTERS = 300
MAX_SHOWN_VARIANTS = 8
_MATRIX_CHECKS = (COMBINATIONS, VALID_BODIES)


def verdict(outcome: Outcome, new: Sequence[Cause]) -> tuple[int, str]:
    """Return the exit code and a sentence about it. `new` are the causes not in the baseline."""
    if new:
        ways = "one way" if len(new) == 1 else f"{len(new)} ways"
        return 1, f"the server violates the contract in {ways}"
    if outcome.missing:
        return 2, f"inconclusive: {outcome.missing}"
    if outcome.stopped:
        return 2, "inconclusive: the run stopped early"
    untested = outcome.untested_rules()
    if untested:
        return 2, f"inconclusive: too few requests could be sent to test {', '.join(untested)}"
    return 0, "the server conforms to the contract"


def terminal_lines(
    outcome: Outcome, new: Sequence[Cause], known: Sequence[Cause], folder: Path
) -> Iterator[str]:
    """Yield the lines of the report for a terminal. `folder` has the other reports."""
    for cause in new:
        yield ""
        yield f"FAIL  {cause.title}"
        for name, value in details(cause, outcome.base_url, folder):
            yield f"      {name:<9} {value}"
    for cause in known:
        yield f"known {cause.title}"
    if outcome.warnings:
        yield ""
        yield "warnings, which do not fail the run because the contract allows them:"
        yield from (f"      {cause.title}" for cause in outcome.warnings)
    if outcome.stopped:
        yield ""
        yield f"stopped early: {outcome.stopped}"
    if outcome.skipped:
        yield ""
        yield "not tested:"
        yield from (f"      {line}" for line in outcome.skipped)
    yield ""
    yield summary(outcome)


def summary(outcome: Outcome) -> str:
    """Return the run's figures in one line."""
    return (
        f"{len(outcome.sent):,} requests in {outcome.seconds:.1f} s, "
        f"{outcome.accepted:,} submissions accepted, seed {outcome.plan.seed}"
    )


def details(cause: Cause, base_url: str, folder: Path = Path()) -> Iterator[tuple[str, str]]:
    """Yield labels and values that describe a cause and how to reproduce it.

    `folder` is where `write_bodies` writes.
    """
    first = cause.smallest
    request = first.case.request
    task = first.task or "TASK_ID"
    yield "contract", _REQUIREMENTS.get(first.violation.kind, first.case.expectation.explanation)
    if cause.variants:
        total = len(cause.variants)
        more = f" … ({total} in total)" if total > MAX_SHOWN_VARIANTS else ""
        yield "variants", "; ".join(cause.variants[:MAX_SHOWN_VARIANTS]) + more
    yield "request", f"{request.method} {_truncate(request.target_of(task))}"
    if request.body is not None:
        yield "body", _truncate(request.body.decode("utf-8", "backslashreplace"))
    if first.response.status:
        yield "response", _describe_response(first.response)
    count = len(cause.failures)
    yield "count", "1 request" if count == 1 else f"{count:,} requests; this is the smallest"
    yield "repeat", request.curl(base_url, task, str(folder / body_file(cause)))
    yield "id", cause.id


# The requirements behind kinds of violation that do not depend on what was sent.
_REQUIREMENTS = {
    "response": "successful responses match the spec, a final status does not change, "
    "and images can be fetched",
    "failed": "no request gets a 5xx response",
    "no response": "every request gets a response",
}


def body_file(cause: Cause) -> str:
    """Return the name of the file with the body of a cause's smallest request."""
    digest = hashlib.sha256(cause.smallest.case.request.body or b"").hexdigest()
    return f"body-{digest[:12]}.json"


def write_bodies(causes: Iterable[Cause], folder: Path) -> None:
    """Write the request bodies that are too long for a command line to files of their own."""
    for cause in causes:
        request = cause.smallest.case.request
        if request.needs_file and request.body is not None:
            _write(folder / body_file(cause), request.body)


def write_har(causes: Iterable[Cause], base_url: str, path: Path) -> None:
    """Write the failing exchanges as HAR."""
    _write(path, har(causes, base_url))


def write_junit(outcome: Outcome, new: Sequence[Cause], known: Sequence[Cause], path: Path) -> None:
    """Write JUnit XML, with a test for each check of an operation and a test for each cause."""
    failed = {(c.smallest.case.operation.name, c.smallest.case.check) for c in new}
    checks = {(case.operation.name, case.check) for case, _ in outcome.sent}
    suite = ET.Element("testsuite", name="contract", time=f"{outcome.seconds:.3f}")
    properties = ET.SubElement(suite, "properties")
    for name, value in (("requests", len(outcome.sent)), ("submissions", outcome.accepted)):
        ET.SubElement(properties, "property", name=name, value=str(value))
    for operation, check in sorted(checks - failed):
        ET.SubElement(suite, "testcase", classname=operation, name=check)
    for cause in (*new, *known):
        test = ET.SubElement(
            suite, "testcase", classname=cause.smallest.case.operation.name, name=cause.id
        )
        lines = (f"{name}: {value}" for name, value in details(cause, outcome.base_url))
        if cause in new:
            ET.SubElement(test, "failure", message=_xml(cause.title)).text = _xml("\n".join(lines))
        else:
            ET.SubElement(test, "skipped", message="known violation, listed in the baseline")
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(new)))
    suite.set("skipped", str(len(known)))
    _write(path, ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def write_page(outcome: Outcome, new: Sequence[Cause], known: Sequence[Cause], path: Path) -> None:
    """Write the run as a self-contained HTML page."""
    status, sentence = verdict(outcome, new)
    page = Template((resources.files("mountsea_banana.harness") / "report.html").read_text("utf-8"))
    content = page.substitute(
        verdict=("pass", "fail", "inconclusive")[status],
        sentence=html.escape(sentence[0].upper() + sentence[1:]),
        server=html.escape(outcome.base_url),
        summary=html.escape(summary(outcome)),
        failures="\n".join(
            [_section(cause, outcome.base_url, "FAIL") for cause in new]
            + [_section(cause, outcome.base_url, "known") for cause in known]
            or ["<p>None.</p>"]
        ),
        warnings="\n".join(
            [_section(cause, outcome.base_url, "warning") for cause in outcome.warnings]
            or ["<p>None.</p>"]
        ),
        skipped="".join(f"<li>{html.escape(line)}</li>" for line in outcome.skipped)
        or "<li>Nothing.</li>",
        rules="".join(_rules(outcome)),
        checks="".join(_checks(outcome)),
        matrices="".join(_matrices(outcome)),
    )
    _write(path, content.encode("utf-8", "backslashreplace"))


def _section(cause: Cause, base_url: str, mark: str) -> str:
    rows = "".join(
        f"<tr><th>{name}</th><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in details(cause, base_url)
    )
    opened = " open" if mark == "FAIL" else ""
    return (
        f'<details class="{mark}"{opened}><summary>{html.escape(cause.title)}</summary>'
        f"<table>{rows}</table></details>"
    )


def _rules(outcome: Outcome) -> Iterator[str]:
    sole_violations = outcome.sole_violations()
    sent = [case.expectation for case, _ in outcome.sent if case.operation.request]
    valid = sum(each.verdict is Verdict.ACCEPT for each in sent)
    accepted = Counter(
        next(iter(failure.case.expectation.reasons))
        for cause in outcome.causes
        for failure in cause.failures
        if failure.violation.kind == "accepted" and len(failure.case.expectation.reasons) == 1
    )
    for rule in outcome.plan.contract.rules:
        violated = sum(rule.id in each.violated_rules for each in sent)
        yield (
            f"<tr><td><code>{rule.id}</code></td><td>{html.escape(rule.sentence)}</td>"
            f"<td>{valid:,}</td><td>{sole_violations[rule.id]:,}</td><td>{violated:,}</td>"
            f"<td>{accepted[rule.id]:,}</td></tr>"
        )


def _checks(outcome: Outcome) -> Iterator[str]:
    counts: dict[tuple[str, str], Counter[Verdict]] = defaultdict(Counter)
    for case, _ in outcome.sent:
        counts[case.operation.name, case.check][case.verdict] += 1
    for (operation, check), by_verdict in sorted(counts.items()):
        cells = "".join(f"<td>{by_verdict[each]:,}</td>" for each in Verdict)
        yield f"<tr><td>{html.escape(operation)}</td><td>{html.escape(check)}</td>{cells}</tr>"


def _matrices(outcome: Outcome) -> Iterator[str]:
    for operation in outcome.plan.contract.operations:
        if operation.request is not None:
            yield from _matrix(outcome, operation)


def _matrix(outcome: Outcome, operation: Operation) -> Iterator[str]:
    """Yield a table of every combination of the properties that are enums."""
    document = outcome.plan.contract.document
    schema = resolve(operation.request.schema, document) if operation.request else {}
    enums = {
        name: [
            *([] if name in schema.get("required", []) else ["absent"]),
            *(json.dumps(each) for each in value["enum"]),
        ]
        for name, value in schema.get("properties", {}).items()
        if "enum" in value
    }
    if len(enums) < 2:
        return
    column = max(enums, key=lambda name: len(enums[name]))
    rows = {name: values for name, values in enums.items() if name != column}
    responses = {id(case): response for case, response in outcome.sent}
    chosen: dict[tuple[str, ...], Case] = {}
    for case in outcome.plan.cases():
        if case.check in _MATRIX_CHECKS and case.operation is operation:
            place = tuple(case.features.get(name, "absent") for name in (*rows, column))
            if place not in chosen or _rank(case) < _rank(chosen[place]):
                chosen[place] = case
    cells = {place: (case, responses.get(id(case))) for place, case in chosen.items()}
    for failure in (failure for cause in outcome.causes for failure in cause.failures):
        if failure.case.operation is operation and failure.case.check in _MATRIX_CHECKS:
            place = tuple(failure.case.features.get(name, "absent") for name in (*rows, column))
            cells[place] = failure.case, failure.response
    head = "".join(f"<th>{html.escape(value.strip(chr(34)))}</th>" for value in enums[column])
    names = "".join(f"<th>{html.escape(name)}</th>" for name in rows)
    yield f"<h3>{html.escape(operation.name)} by {html.escape(column)}</h3>"
    yield f'<div class="wide"><table class="matrix"><tr>{names}{head}</tr>'
    for row in itertools.product(*rows.values()):
        labels = "".join(f"<th>{html.escape(value.strip(chr(34)))}</th>" for value in row)
        marks = "".join(_cell(cells.get((*row, value))) for value in enums[column])
        yield f"<tr>{labels}{marks}</tr>"
    yield "</table></div>"


def _rank(case: Case) -> tuple[bool, int]:
    return case.verdict is not Verdict.ACCEPT, len(case.request.body or b"")


def _cell(found: tuple[Case, Response | None] | None) -> str:
    case, response = found or (None, None)
    if case is None or response is None:
        return '<td class="none" title="not sent"></td>'
    is_accepted = 200 <= response.status < 300
    is_right = is_accepted if case.verdict is Verdict.ACCEPT else 400 <= response.status < 500
    kind = ("accepted" if is_accepted else "rejected") if is_right else "wrong"
    mark = {"accepted": "✓", "rejected": "·", "wrong": "✗"}[kind]
    title = f"{response.status}: {case.expectation.explanation}"
    return f'<td class="{kind}" title="{html.escape(title)}">{mark}</td>'


def _describe_response(response: Response) -> str:
    body = response.body.decode("utf-8", "backslashreplace")
    return f"{response.status} {_truncate(body)}".rstrip()


def _truncate(text: str) -> str:
    if len(text) <= MAX_SHOWN_CHARACTERS:
        return text
    return f"{text[:MAX_SHOWN_CHARACTERS]} … ({len(text):,} characters)"


def _xml(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_of(path) as part:
        part.write_bytes(content)
        part.chmod(0o644)
        part.replace(path)


def read_baseline(lines: Iterable[str]) -> set[str]:
    """Return the ids of known violations, one per line. Lines that start with `#` are comments."""
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}
