"""Take the vendor's documentation pages into `openapi.yaml`.

    python scripts/update_spec.py PAGE... [--prune]

A page is a file or an https:// address: Markdown whose fenced YAML blocks each are a slice of one
OpenAPI document, or such a slice itself (.yaml). Operations that no page mentions stay, unless
`--prune` drops them. Exits with 0 where the spec is up to date afterwards, 1 where the pages cannot
be taken; then the old file is as it was.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from attrs import frozen
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "openapi.yaml"
MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 100
SECONDS = 30
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Document = dict[str, Any]


class UpdateError(Exception):
    """Why the pages cannot be taken, in one line for a person."""


@frozen
class Slice:
    """The part of the vendor's document that one fence holds."""

    page: str
    document: Document


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", metavar="PAGE", help="a file or an https:// address")
    parser.add_argument("--prune", action="store_true", help="drop what no page mentions")
    parser.add_argument("--spec", type=Path, default=SPEC)
    options = parser.parse_args(arguments)
    try:
        slices = [each for page in options.pages for each in slices_of(page, read(page))]
        old = load(options.spec.read_text("utf-8"), options.spec.name)
        new = merge(old, slices, prune=options.prune)
        text = dump(new)
        part = options.spec.with_name(f".{options.spec.name}.part")
        part.write_text(text, "utf-8")
        part.replace(options.spec)
    except (UpdateError, OSError) as error:
        print(f"update-spec: {' '.join(str(error).split())}", file=sys.stderr)
        print(f"update-spec: {options.spec.name} was left as it was", file=sys.stderr)
        return 1
    changes = list(differences(old, new))
    for change in changes or ["nothing changed"]:
        print(f"update-spec: {change}")
    return 0


def read(page: str) -> bytes:
    """Return the bytes of a page; raise UpdateError where it cannot be read or is too large."""
    start = time.monotonic()
    try:
        if page.startswith("https://"):
            with httpx.stream("GET", page, follow_redirects=True, timeout=SECONDS) as answer:
                answer.raise_for_status()
                if answer.url.scheme != "https":
                    raise UpdateError(
                        f"{page} leads to {answer.url}, which anybody may have changed"
                    )
                content = b""
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        break
                    if time.monotonic() > start + SECONDS:
                        raise UpdateError(f"{page} did not come whole within {SECONDS} seconds")
        elif "://" in page:
            raise UpdateError(f"{page} is neither a file nor an https:// address")
        else:
            with Path(page).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UpdateError(f"cannot read {page}: {error}") from error
    if len(content) > MAX_BYTES:
        raise UpdateError(f"{page} is larger than 5 MB: no documentation page is")
    return content


def slices_of(page: str, content: bytes) -> list[Slice]:
    """Return the slices on a page. Raises UpdateError: none, one that is cut short, no OpenAPI."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeError as error:
        raise UpdateError(f"{page} is no UTF-8 text: {error}") from error
    is_yaml = page.lower().endswith((".yaml", ".yml"))
    found = [
        Slice(page, load(block, page)) for block in ([text] if is_yaml else fences(page, text))
    ]
    if not found:
        raise UpdateError(f"{page} has no fenced YAML block: give the page as Markdown")
    for each in found:
        _check_slice(each)
    return found


def fences(page: str, text: str) -> Iterator[str]:
    """Give the YAML blocks of a Markdown page."""
    end, start, lines = "", 0, list[str]()
    for number, line in enumerate(text.split("\n"), 1):
        if end and re.fullmatch(rf"\s*{re.escape(end[0])}{{{len(end)},}}\s*", line):
            yield "\n".join(lines)
            end = ""
        elif end:
            lines.append(line)
        elif opening := re.match(r"\s*(`{3,}|~{3,})\s*ya?ml\b", line, re.IGNORECASE):
            end, lines, start = opening[1], [], number
    if end:
        raise UpdateError(f"{page} is cut short: the fence of line {start} has no end")


# What YAML 1.2 reads as something else than text. PyYAML reads 1.1, where `no` is false and `1:1`
# a number of seconds; the vendor's pages are 1.2.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_KINDS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.2."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - PyYAML's own way


class _Dumper(yaml.SafeDumper):
    """Writes what YAML 1.1 and 1.2 read alike."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    is_other_in_1_2 = any(pattern.fullmatch(value) for _, pattern in _KINDS)
    style = "'" if is_other_in_1_2 else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


for _name, _pattern in _KINDS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern.pattern})\Z"), None
    )
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda _, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower())),
)
_Dumper.add_representer(str, _text)


def load(text: str, name: str) -> Document:
    """Return the mapping in a YAML text. Raises UpdateError: tags, aliases, anything but YAML."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.AliasEvent):
                raise UpdateError(f"{name}: an alias in line {line}, which no page needs")
            if getattr(event, "tag", None) is not None:
                raise UpdateError(f"{name}: a tag in line {line}, which no page needs")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UpdateError(f"{name}: nested deeper than {MAX_DEPTH} in line {line}")
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UpdateError(f"{name} holds no YAML that can be read: {error}") from error
    if not isinstance(document, dict):
        raise UpdateError(f"{name} holds no OpenAPI document but {type(document).__name__}")
    return document


def dump(document: Document) -> str:
    """Return a document in the form that `openapi.yaml` has."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True, line_break="\n"
    )
    return text


def _check_slice(each: Slice) -> None:
    info, paths = each.document.get("info"), each.document.get("paths")
    if not str(each.document.get("openapi", "")).startswith("3.") or not isinstance(info, dict):
        raise UpdateError(f"{each.page}: the YAML is no OpenAPI 3 document")
    if not isinstance(info.get("title"), str) or not isinstance(info.get("version"), str):
        raise UpdateError(f"{each.page}: the document has no title and version")
    if not isinstance(paths, dict) or not list(operations(each.document)):
        raise UpdateError(f"{each.page}: the document has no operation")
    try:
        validate(each.document)
    except OpenAPIValidationError as error:
        raise UpdateError(f"{each.page}: not valid OpenAPI: {error.message}") from error
    except Exception as error:  # the validator's own failures, on a document that is none
        raise UpdateError(f"{each.page}: not valid OpenAPI: {error!r:.300}") from error


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give path and method of every operation."""
    for path, item in document["paths"].items():
        if isinstance(item, dict):
            yield from ((path, method) for method in METHODS if method in item)


def merge(old: Document, slices: Sequence[Slice], *, prune: bool) -> Document:
    """Return the document that the slices and, for the rest, the old one make."""
    slices = sorted(slices, key=lambda each: sorted(operations(each.document)))
    taken: Document = {}
    where: dict[str, Slice] = {}
    for each in slices:
        for place, value in _parts(each.document):
            _agree(place, value, taken, where, each)
    new = _assemble(taken)
    _check_version(old, new, prune=prune)
    if not prune:
        known = dict(_parts(new))
        for place, value in _parts(old):
            is_dropped_info = place.split("\x1f")[0] not in ("paths", "components", "tags")
            if place not in known and not is_dropped_info:
                taken[place] = value
        new = _assemble(taken)
    new = _in_order(_without_orphans(new))
    old_parts = dict(_parts(old))
    # What is the same but for its order stays as it is, so that no diff shows it.
    settled = {
        place: old_parts[place] if old_parts.get(place) == value else value
        for place, value in _parts(new)
    }
    return _in_order(_assemble(settled))


def _parts(document: Document) -> Iterator[tuple[str, Any]]:
    """Give the parts that a document is compared and merged by, each with its place."""
    for name, value in document.items():
        if name == "paths":
            for path, item in value.items():
                for method, operation in item.items():
                    yield f"paths\x1f{path}\x1f{method}", operation
        elif name == "components":
            for kind, entries in value.items():
                for entry, schema in entries.items():
                    yield f"components\x1f{kind}\x1f{entry}", schema
        elif name == "tags":
            for tag in value:
                yield f"tags\x1f{tag.get('name')}", tag
        else:
            yield name, value


def _assemble(parts: Mapping[str, Any]) -> Document:
    document: Document = {}
    for place, value in parts.items():
        names = place.split("\x1f")
        if names[0] == "tags":
            document.setdefault("tags", []).append(value)
        else:
            node = document
            for name in names[:-1]:
                node = node.setdefault(name, {})
            node[names[-1]] = value
    return document


def _agree(place: str, value: Any, taken: Document, where: dict[str, Slice], each: Slice) -> None:
    """Take a part, or raise UpdateError where another page says something else of it."""
    if place in taken and taken[place] != value:
        names, ours, theirs = _difference(place.split("\x1f"), taken[place], value)
        raise UpdateError(
            f"{where[place].page} and {each.page} disagree about {' '.join(names)}: "
            f"{ours!r:.300} and {theirs!r:.300}"
        )
    if place not in taken:
        taken[place], where[place] = value, each


def _difference(place: list[str], one: Any, other: Any) -> tuple[list[str], Any, Any]:
    """Return the first place below `place` in which two values differ, and what stands there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *other]:
            if one.get(name) != other.get(name):
                return _difference([*place, str(name)], one.get(name), other.get(name))
    return place, one, other


def _check_version(old: Document, new: Document, *, prune: bool) -> None:
    if new["info"]["title"] != old["info"]["title"]:
        raise UpdateError(
            f"the pages are of {new['info']['title']!r}, and the spec is of "
            f"{old['info']['title']!r}: another API needs a spec of its own"
        )
    ours, theirs = old["info"]["version"], new["info"]["version"]
    if _version(theirs) < _version(ours):
        raise UpdateError(f"the pages are of version {theirs}, and the spec is of {ours} already")
    left = [f"{m.upper()} {path}" for path, m in sorted({*operations(old)} - {*operations(new)})]
    if ours != theirs and left and not prune:
        raise UpdateError(
            f"the pages are of version {theirs}, and {', '.join(left)} would stay at {ours}: give "
            "the pages of these operations too, or drop them with PRUNE=1"
        )


def _version(text: str) -> tuple[tuple[int, int | str], ...]:
    parts = re.findall(r"\d+|[A-Za-z]+", text)
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts)


def _without_orphans(document: Document) -> Document:
    """Return a document without the components that no operation leads to."""
    components = document.get("components", {})
    reached = {("securitySchemes", name) for name in _security_names(document)}
    queue: list[Any] = [document["paths"]]
    while queue:
        for reference in _references(queue.pop()):
            match = re.fullmatch(r"#/components/([^/]+)/([^/]+)", reference)
            place = (match[1], match[2]) if match else ("", "")
            if place not in reached and place[1] in components.get(place[0], {}):
                reached.add(place)
                queue.append(components[place[0]][place[1]])
    kept = {
        kind: {name: value for name, value in entries.items() if (kind, name) in reached}
        for kind, entries in components.items()
    }
    kept = {kind: entries for kind, entries in kept.items() if entries}
    rest = {name: value for name, value in document.items() if name != "components"}
    return {**rest, "components": kept} if kept else rest


def _security_names(document: Document) -> Iterator[str]:
    holders = [document, *(document["paths"][p][m] for p, m in operations(document))]
    for holder in holders:
        for requirement in holder.get("security", []):
            yield from requirement


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _in_order(document: Document) -> Document:
    """Return a document in the order that `openapi.yaml` has."""
    first = ("openapi", "info", "servers", "security", "tags")
    names = [*first, *(n for n in sorted(document) if n not in (*first, "paths", "components"))]
    ordered = {name: document[name] for name in names if name in document}
    if "tags" in ordered:
        ordered["tags"] = sorted(ordered["tags"], key=lambda tag: str(tag.get("name")))
    ordered["paths"] = {
        path: dict(sorted(item.items(), key=lambda entry: _rank(entry[0])))
        for path, item in sorted(document["paths"].items())
    }
    components = document.get("components", {})
    ordered["components"] = {
        kind: dict(sorted(components[kind].items()))
        for kind in sorted(components, key=lambda kind: (kind == "securitySchemes", kind))
    }
    return {name: value for name, value in ordered.items() if value or name != "components"}


def _rank(name: str) -> tuple[int, str]:
    return (METHODS.index(name), "") if name in METHODS else (len(METHODS), name)


def differences(old: Document, new: Document) -> Iterable[str]:
    """Give what an update added, changed and removed."""
    before, after = dict(_parts(old)), dict(_parts(new))
    for place in sorted({*before, *after}):
        name = place.replace("components\x1f", "").replace("\x1f", " ")
        if place not in before:
            yield f"added: {name}"
        elif place not in after:
            yield f"removed: {name}"
        elif before[place] != after[place]:
            yield f"changed: {name}"


if __name__ == "__main__":
    sys.exit(main())
