"""Update `openapi.yaml` from the vendor's documentation pages.

    python scripts/update_spec.py PAGE... [--prune]

A page is a file or an https:// URL. It is either Markdown, with each fenced YAML block a slice of
the vendor's OpenAPI document, or a single slice as YAML (.yaml or .yml). Operations that no page
mentions stay, unless you pass `--prune`.

Exit code: 0 if the spec is now up to date, 1 if a page can't be used. The update is atomic: after
an error the spec is unchanged.
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
    """The pages cannot be used; the message names the page and the reason."""


@frozen
class Slice:
    """One page's part of the vendor's document."""

    page: str
    document: Document


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", metavar="PAGE", help="a file or an https:// URL")
    parser.add_argument(
        "--prune", action="store_true", help="remove the operations that no page mentions"
    )
    parser.add_argument(
        "--spec", type=Path, default=SPEC, help="spec to update (default: openapi.yaml)"
    )
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
        print(f"update-spec: {options.spec.name} is unchanged", file=sys.stderr)
        return 1
    changes = list(differences(old, new))
    for change in changes or ["no changes"]:
        print(f"update-spec: {change}")
    return 0


def read(page: str) -> bytes:
    """Return the bytes of a page. Raises UpdateError if it is unreadable, too large or too slow."""
    start = time.monotonic()
    try:
        if page.startswith("https://"):
            with httpx.stream("GET", page, follow_redirects=True, timeout=SECONDS) as response:
                response.raise_for_status()
                if response.url.scheme != "https":
                    raise UpdateError(
                        f"{page} redirects to {response.url}, which is not an https:// URL"
                    )
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        break
                    if time.monotonic() > start + SECONDS:
                        raise UpdateError(f"{page} did not download within {SECONDS} seconds")
        elif "://" in page:
            raise UpdateError(f"{page} is neither a file nor an https:// URL")
        else:
            with Path(page).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UpdateError(f"cannot read {page}: {error}") from error
    if len(content) > MAX_BYTES:
        raise UpdateError(f"{page} is larger than 5 MB, so it is not a documentation page")
    return content


def slices_of(page: str, content: bytes) -> list[Slice]:
    """Return the slices on a page. Raises UpdateError if it has none, or an invalid one."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeError as error:
        raise UpdateError(f"{page} is not UTF-8 text: {error}") from error
    is_yaml = page.lower().endswith((".yaml", ".yml"))
    found = [
        Slice(page, load(block, page)) for block in ([text] if is_yaml else fences(page, text))
    ]
    if not found:
        raise UpdateError(f"{page} has no fenced YAML block: pass the page's Markdown version")
    for each in found:
        _check_slice(each)
    return found


def fences(page: str, text: str) -> Iterator[str]:
    """Yield the fenced YAML blocks of a Markdown page. Raises UpdateError for an unclosed one."""
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
        raise UpdateError(f"{page} is truncated: the code fence on line {start} is never closed")


# The plain scalars that YAML 1.2 doesn't read as strings. PyYAML implements YAML 1.1, which reads
# `no` as false and `1:1` as the number 61; the vendor's pages are YAML 1.2.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_SCALARS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))


class _Loader(yaml.SafeLoader):
    """Loads YAML 1.2."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - PyYAML's API


class _Dumper(yaml.SafeDumper):
    """Writes YAML that versions 1.1 and 1.2 read the same way."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    needs_quotes = any(pattern.fullmatch(value) for _, pattern in _SCALARS)
    style = "'" if needs_quotes else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


for _name, _pattern in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern.pattern})\Z"), None
    )
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda _, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower())),
)
_Dumper.add_representer(str, _text)


def load(text: str, name: str) -> Document:
    """Return the mapping in a YAML text.

    Raises UpdateError if the text is not a YAML mapping, is nested too deeply, or has a tag or an
    alias. A page needs neither, and they can make a small page expand to gigabytes or run code.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.AliasEvent):
                raise UpdateError(
                    f"{name}: YAML aliases are not supported, but line {line} has one"
                )
            if getattr(event, "tag", None) is not None:
                raise UpdateError(f"{name}: YAML tags are not supported, but line {line} has one")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UpdateError(
                    f"{name}: line {line} is nested more than {MAX_DEPTH} levels deep"
                )
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UpdateError(f"{name} has invalid YAML: {error}") from error
    if not isinstance(document, dict):
        raise UpdateError(
            f"{name}: an OpenAPI document must be a mapping, not {type(document).__name__}"
        )
    return document


def dump(document: Document) -> str:
    """Return a document as YAML, in the format of `openapi.yaml`."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True, line_break="\n"
    )
    return text


def _check_slice(each: Slice) -> None:
    info, paths = each.document.get("info"), each.document.get("paths")
    if not str(each.document.get("openapi", "")).startswith("3.") or not isinstance(info, dict):
        raise UpdateError(f"{each.page}: the YAML is not an OpenAPI 3 document")
    if not isinstance(info.get("title"), str) or not isinstance(info.get("version"), str):
        raise UpdateError(
            f"{each.page}: the OpenAPI document needs a title and a version in `info`"
        )
    if not isinstance(paths, dict) or not list(operations(each.document)):
        raise UpdateError(f"{each.page}: the OpenAPI document has no operation")
    try:
        validate(each.document)
    except OpenAPIValidationError as error:
        raise UpdateError(f"{each.page}: not valid OpenAPI: {error.message}") from error
    except Exception as error:  # the validator raises other errors on malformed documents
        raise UpdateError(f"{each.page}: not valid OpenAPI: {error!r:.300}") from error


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the path and method of every operation."""
    for path, item in document["paths"].items():
        if isinstance(item, dict):
            yield from ((path, method) for method in METHODS if method in item)


def merge(old: Document, slices: Sequence[Slice], *, prune: bool) -> Document:
    """Return the slices merged into one document.

    Operations, components and tags that no slice mentions come from `old`, unless `prune` is set.
    Raises UpdateError if two slices disagree, or if they describe another API or an older version.
    """
    slices = sorted(slices, key=lambda each: sorted(operations(each.document)))
    merged: Document = {}
    sources: dict[str, Slice] = {}
    for each in slices:
        for location, value in _parts(each.document):
            _add(location, value, merged, sources, each)
    new = _assemble(merged)
    _check_version(old, new, prune=prune)
    if not prune:
        published = dict(_parts(new))
        for location, value in _parts(old):
            is_kept = location.split("\x1f")[0] in ("paths", "components", "tags")
            if is_kept and location not in published:
                merged[location] = value
        new = _assemble(merged)
    new = _ordered(_without_orphans(new))
    old_parts = dict(_parts(old))
    # If only the order inside a part changed, keep the old part, so that the diff stays small.
    result = {
        location: old_parts[location] if old_parts.get(location) == value else value
        for location, value in _parts(new)
    }
    return _ordered(_assemble(result))


def _parts(document: Document) -> Iterator[tuple[str, Any]]:
    """Yield the parts in which documents are compared and merged, each with its location."""
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
    for location, value in parts.items():
        names = location.split("\x1f")
        if names[0] == "tags":
            document.setdefault("tags", []).append(value)
        else:
            node = document
            for name in names[:-1]:
                node = node.setdefault(name, {})
            node[names[-1]] = value
    return document


def _add(
    location: str, value: Any, merged: Document, sources: dict[str, Slice], each: Slice
) -> None:
    """Add a part to `merged`. Raises UpdateError if another page has a different version."""
    if location in merged and merged[location] != value:
        names, ours, theirs = _difference(location.split("\x1f"), merged[location], value)
        raise UpdateError(
            f"{sources[location].page} and {each.page} disagree about {' '.join(names)}: "
            f"{ours!r:.300} and {theirs!r:.300}"
        )
    if location not in merged:
        merged[location], sources[location] = value, each


def _difference(location: list[str], one: Any, other: Any) -> tuple[list[str], Any, Any]:
    """Return the first location at which two values differ, and the two values there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *other]:
            if one.get(name) != other.get(name):
                return _difference([*location, str(name)], one.get(name), other.get(name))
    return location, one, other


def _check_version(old: Document, new: Document, *, prune: bool) -> None:
    if new["info"]["title"] != old["info"]["title"]:
        raise UpdateError(
            f"the pages describe {new['info']['title']!r}, but the spec describes "
            f"{old['info']['title']!r}: use a separate spec for another API"
        )
    ours, theirs = old["info"]["version"], new["info"]["version"]
    if _version(theirs) < _version(ours):
        raise UpdateError(
            f"the pages have version {theirs}, but the spec already has {ours}: get newer pages"
        )
    missing = [f"{m.upper()} {path}" for path, m in sorted({*operations(old)} - {*operations(new)})]
    if ours != theirs and missing and not prune:
        raise UpdateError(
            f"the pages have version {theirs}, but {', '.join(missing)} would stay at {ours}: add "
            "the pages of these operations, or remove the operations with PRUNE=1"
        )


def _version(text: str) -> tuple[tuple[int, int | str], ...]:
    parts = re.findall(r"\d+|[A-Za-z]+", text)
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts)


def _without_orphans(document: Document) -> Document:
    """Return a document without the components that no operation uses."""
    components = document.get("components", {})
    reached = {("securitySchemes", name) for name in _security_names(document)}
    queue: list[Any] = [document["paths"]]
    while queue:
        for reference in _references(queue.pop()):
            match = re.fullmatch(r"#/components/([^/]+)/([^/]+)", reference)
            location = (match[1], match[2]) if match else ("", "")
            if location not in reached and location[1] in components.get(location[0], {}):
                reached.add(location)
                queue.append(components[location[0]][location[1]])
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


def _ordered(document: Document) -> Document:
    """Return a document sorted the way `openapi.yaml` is."""
    first = ("openapi", "info", "servers", "security", "tags")
    names = [*first, *(n for n in sorted(document) if n not in (*first, "paths", "components"))]
    ordered = {name: document[name] for name in names if name in document}
    if "tags" in ordered:
        ordered["tags"] = sorted(ordered["tags"], key=lambda tag: str(tag.get("name")))
    ordered["paths"] = {
        path: dict(sorted(item.items(), key=lambda entry: _method_key(entry[0])))
        for path, item in sorted(document["paths"].items())
    }
    components = document.get("components", {})
    ordered["components"] = {
        kind: dict(sorted(components[kind].items()))
        for kind in sorted(components, key=lambda kind: (kind == "securitySchemes", kind))
    }
    return {name: value for name, value in ordered.items() if value or name != "components"}


def _method_key(name: str) -> tuple[int, str]:
    return (METHODS.index(name), "") if name in METHODS else (len(METHODS), name)


def differences(old: Document, new: Document) -> Iterable[str]:
    """Yield a line for every part that was added, changed or removed."""
    before, after = dict(_parts(old)), dict(_parts(new))
    for location in sorted({*before, *after}):
        name = location.replace("components\x1f", "").replace("\x1f", " ")
        if location not in before:
            yield f"added: {name}"
        elif location not in after:
            yield f"removed: {name}"
        elif before[location] != after[location]:
            yield f"changed: {name}"


if __name__ == "__main__":
    sys.exit(main())
