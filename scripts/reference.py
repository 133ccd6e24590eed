"""Generate `docs/reference.md` from the docstrings, or check that it is current.

    python scripts/reference.py           regenerate the page
    python scripts/reference.py --check   compare; change nothing

The page is Markdown without directives, so that a code host shows it as the site does.

Exit code: 0 on success, 1 if `--check` finds a difference.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import griffe
from attrs import frozen

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference.md"
INTRODUCTION = """# Reference

Every public name, with its docstring. Times are in seconds, and sizes in bytes. The version is
`mountsea_banana.__version__`.
"""


@frozen
class Section:
    """A section of the page: names of one module. You don't create those with parentheses."""

    title: str
    module: str
    names: str
    text: str = ""


SECTIONS = (
    Section("Client", "mountsea_banana", "NanoBanana Task() TaskResult()"),
    Section(
        "Options",
        "mountsea_banana",
        "Model AspectRatio Resolution FastOptions() ProOptions() Nano2Options()",
        "The types of the options of `generate` and `edit`, for your own annotations. No value has "
        "the type\n`ResolutionNeedsProOr2` or `WideRatioNeeds2`; they exist so that a type error "
        "names the violated rule.",
    ),
    Section(
        "Asynchronous client", "mountsea_banana", "AsyncNanoBanana AsyncTask() AsyncTaskResult()"
    ),
    Section("Rules", "mountsea_banana", "check_request Violation()"),
    Section(
        "Errors",
        "mountsea_banana",
        "NanoBananaError() Hint() ConfigurationError() InvalidRequest() APIConnectionError() "
        "APITimeoutError() SubmissionUnknown() SubmissionServerError() SubmissionUnreadable() "
        "APIStatusError() BadRequestError() AuthenticationError() PermissionDeniedError() "
        "NotFoundError() RateLimitError() ServerError() UnexpectedResponse() TaskFailed() "
        "WaitTimeout() DownloadError() ContractWarning()",
    ),
    Section(
        "Ledger",
        "mountsea_banana.ledger",
        "Ledger Entry() InDoubt() KeyConflict() CostLimitReached() LedgerError()",
    ),
    Section(
        "Batches",
        "mountsea_banana.batch",
        "read rows run run_async Options() run_row count_unpaid write_results write_contact_sheet "
        "Worklist() Row() BadRow() Outcome() Report() Event Submitted() Paused() Waiting() "
        "Draining() InvalidRows() UnreadableRows()",
    ),
    Section("Clock", "mountsea_banana", "Clock InstantClock"),
    Section("Mock", "mountsea_banana.mock", "MockServer Plan create_app DEFAULT_KEYS"),
    Section("Fixtures", "pytest_mountsea_banana", "banana_server() banana() async_banana()"),
    Section(
        "Contract",
        "mountsea_banana.contract",
        "Contract ContractError() Operation() Parameter() Rule() Schema() Problem() resolve sample "
        "METHODS RULE_ID",
    ),
)


Part = Any  # griffe's classes differ in their attributes


class Verbatim(str):
    """An annotation that a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare; write nothing")
    check = parser.parse_args(arguments).check
    page = "\n".join([INTRODUCTION, *(line for each in SECTIONS for line in section(each))])
    if not check:
        PAGE.write_text(page, "utf-8")
    elif page != PAGE.read_text("utf-8"):
        print(
            "check-generated: docs/reference.md doesn't match the docstrings: run `make generate`"
        )
        return 1
    return 0


def section(section: Section) -> Iterator[str]:
    """Yield the lines of a section."""
    yield f"## {section.title}\n"
    module = _load(section.module)
    if text := section.text or ("" if section.module == "mountsea_banana" else _text(module)):
        yield f"{text}\n"
    for name in section.names.split():
        yield from _entry(section.module, module, name)


def _entry(path: str, module: Part, name: str) -> Iterator[str]:
    """Yield the lines of a public name: its signature, its docstring and its members."""
    name, shows_signature = name.removesuffix("()"), not name.endswith("()")
    part, value = module[name], getattr(import_module(path), name)
    yield f"### {name}\n"
    if part.is_attribute:
        yield f"```text\n{_definition(part, value)}\n```\n"
    elif shows_signature:
        yield f"```text\n{name}{_signature(value)}\n```\n"
    yield f"{_text(part)}\n"
    for member in _members(part) if part.is_class else ():
        if member.is_function:
            signature = _signature(getattr(value, member.name), is_method=True)
            yield f"**`{member.name}{signature}`**\n"
        else:
            yield f"**`{member.name}: {member.annotation}`**\n"
        yield f"{_text(member)}\n"


def _definition(part: Part, value: Any) -> str:
    """Return how a name is defined, for an alias with every value that it allows."""
    if get_origin(value) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(value)))}]"
    return str(part.value or repr(value))


def _members(part: Part) -> Iterator[Part]:
    """Yield the public members of a class that no other class on the page has."""
    for each in part.all_members.values():
        origin = each.canonical_path.rpartition(".")[0]
        is_elsewhere = origin != part.canonical_path and origin.rpartition(".")[2] in _classes()
        if each.is_public and each.docstring and not each.name.startswith("_") and not is_elsewhere:
            yield each


def _classes() -> set[str]:
    return {name.removesuffix("()") for each in SECTIONS for name in each.names.split()}


def _text(part: Part) -> str:
    # reStructuredText starts a block of code with two colons, Markdown with its indentation.
    return part.docstring.value.replace("::\n", ":\n") if part.docstring else ""


def _signature(value: Any, *, is_method: bool = False) -> str:
    signature = inspect.signature(value)
    parameters = list(signature.parameters.values())[is_method:]
    shown = [each.replace(annotation=_verbatim(each.annotation)) for each in parameters]
    returned = _verbatim(signature.return_annotation)
    return str(signature.replace(parameters=shown, return_annotation=returned))


def _verbatim(annotation: Any) -> Any:
    return Verbatim(annotation) if isinstance(annotation, str) else annotation


@cache
def _load(path: str) -> Part:
    package, _, module = path.partition(".")
    loaded = griffe.load(package, search_paths=[ROOT / "wrapper"])
    return loaded[module] if module else loaded


if __name__ == "__main__":
    sys.exit(main())
