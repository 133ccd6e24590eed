"""The result of a run for GitHub Actions: a summary on the job's page, and annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ._causes import Cause
from ._outcome import Outcome
from ._report import details, summary, verdict


def markdown(outcome: Outcome, new: Sequence[Cause], known: Sequence[Cause]) -> str:
    """Return the result as Markdown."""
    _, sentence = verdict(outcome, new)
    lines = [f"### Contract tests: {sentence}", "", f"`{outcome.base_url}`: {summary(outcome)}"]
    for heading, causes in (
        ("Violations", new),
        ("Known violations", known),
        ("Warnings, which do not fail the run", outcome.warnings),
    ):
        if causes:
            lines += ["", f"#### {heading}", ""]
            lines += (f"- {_one_line(cause.title)}" for cause in causes)
    if outcome.skipped:
        lines += ["", "#### Not tested", "", *(f"- {_one_line(each)}" for each in outcome.skipped)]
    return "\n".join(lines) + "\n"


def workflow_commands(outcome: Outcome, new: Sequence[Cause]) -> Iterator[str]:
    """Yield the workflow commands that show violations as errors, and warnings as warnings."""
    for level, causes in (("error", new), ("warning", outcome.warnings)):
        for cause in causes:
            text = "\n".join(f"{name}: {value}" for name, value in details(cause, outcome.base_url))
            yield f"::{level} title={_property(cause.title)}::{_escaped(text)}"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
