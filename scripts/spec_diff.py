"""List the changes to the spec, and whether they break code that uses the API or this client.

    python scripts/spec_diff.py [--base REF-OR-FILE] [--format markdown]

Each line has a level, a location and a description. The levels are `breaking` (something that
worked will fail), `risky` (something may fail; review it) and `compatible`.

Exit code: 0 if nothing is breaking, 1 if anything is, 2 if a spec can't be read.

If oasdiff is on PATH, its breaking changes follow as a second opinion, since it covers parts of
OpenAPI that this tool doesn't. They don't affect the exit code, which must be the same on every
machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from openapi_spec_validator import validate

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "openapi.yaml"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
LEVELS = ("breaking", "risky", "compatible")
OASDIFF_SECONDS = 30.0

Node = Mapping[str, Any]


class DiffError(Exception):
    """A spec cannot be read; the message is one line."""


@frozen
class Change:
    """One difference between two specs, and its level."""

    level: str
    location: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.level}: {self.location}: {self.sentence}"


# Maps each limit to whether a higher value is stricter.
LIMITS = {
    "minimum": True,
    "minLength": True,
    "minItems": True,
    "minProperties": True,
    "maximum": False,
    "maxLength": False,
    "maxItems": False,
    "maxProperties": False,
}
# Constraints without an order: of two values, neither is stricter.
OTHER_CONSTRAINTS = (
    "pattern",
    "format",
    "multipleOf",
    "uniqueItems",
    "exclusiveMinimum",
    "exclusiveMaximum",
)
# Reported as changed, without comparing their contents.
NOT_COMPARED = ("allOf", "anyOf", "oneOf", "not", "additionalProperties", "discriminator")

# The level of each kind of change: in a request, and in a response.
LEVELS_BY_KIND = {
    "property removed": ("breaking", "breaking"),
    "property added": ("compatible", "compatible"),
    "required property added": ("breaking", "compatible"),
    "made required": ("breaking", "compatible"),
    "made optional": ("compatible", "breaking"),
    "type changed": ("breaking", "breaking"),
    "made nullable": ("compatible", "breaking"),
    "made not nullable": ("breaking", "compatible"),
    "value removed": ("breaking", "compatible"),
    "value added": ("compatible", "risky"),
    "enum introduced": ("breaking", "compatible"),
    "enum dropped": ("compatible", "risky"),
    "limit tightened": ("breaking", "compatible"),
    "limit loosened": ("compatible", "risky"),
    "constraint introduced": ("breaking", "compatible"),
    "constraint changed": ("breaking", "risky"),
    "constraint dropped": ("compatible", "risky"),
    "default changed": ("risky", "compatible"),
    "schema renamed": ("breaking", "breaking"),
    "description changed": ("risky", "compatible"),
    "not compared": ("risky", "risky"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--base", default="HEAD", help="old spec, as a git reference or a file (default: HEAD)"
    )
    parser.add_argument("--spec", type=Path, default=SPEC, help="new spec (default: openapi.yaml)")
    parser.add_argument(
        "--format",
        choices=("text", "markdown"),
        default="text",
        help="output format (default: text)",
    )
    options = parser.parse_args(arguments)
    try:
        base = read_base(options.base)
        changes = compare(read(base, options.base), read_file(options.spec))
    except DiffError as error:
        print(f"spec-diff: {error}", file=sys.stderr)
        return 2
    second_opinion = oasdiff(base, options.spec)
    if options.format == "markdown":
        print("\n".join(markdown(changes, second_opinion)))
    else:
        print("\n".join(map(str, changes)) or "spec-diff: no changes")
        for line in second_opinion:
            print(f"oasdiff: {line}")
    return int(any(change.level == "breaking" for change in changes))


def read_base(base: str) -> bytes:
    """Return the bytes of the spec in a file or at a git reference. Raises DiffError."""
    if Path(base).is_file():
        return Path(base).read_bytes()
    shown = subprocess.run(  # noqa: S603
        ["git", "show", f"{base}:{SPEC.name}"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if shown.returncode or base.startswith("-"):
        raise DiffError(f"{base!r} is neither a file nor a git reference with {SPEC.name}")
    return shown.stdout


def read_file(path: Path) -> Node:
    """Return the spec in a file. Raises DiffError if it can't be read or is invalid."""
    try:
        return read(path.read_bytes(), path.name)
    except OSError as error:
        raise DiffError(f"cannot read {path}: {error.strerror}") from error


def read(content: bytes, name: str) -> Node:
    """Return the spec in `content`. Raises DiffError, which contains `name`, if it is invalid."""
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError) as error:
        raise DiffError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        missing = sorted(set(_dangling(document, document)))
        if not missing:
            validate(document)
    except Exception as error:  # the validator also raises KeyError and others on odd documents
        raise DiffError(f"{name} is not a valid OpenAPI document: {error!r:.200}") from error
    if missing:
        raise DiffError(f"{name} has no target for these references: {', '.join(missing)}")
    spec: Node = document
    return spec


def _dangling(node: Any, document: Node) -> Iterator[str]:
    """Yield the references that point to nothing in the document."""
    if isinstance(node, list):
        for child in node:
            yield from _dangling(child, document)
    elif isinstance(node, Mapping):
        reference = node.get("$ref")
        if isinstance(reference, str) and not _has(document, reference):
            yield reference
        for child in node.values():
            yield from _dangling(child, document)


def _has(document: Node, reference: str) -> bool:
    """Return whether a reference, such as `#/components/schemas/Name`, points to something."""
    start, *names = reference.split("/")
    target: Any = document if start == "#" else None
    for name in names:
        key = name.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, Mapping) else None
    return target is not None


def oasdiff(base: bytes, spec: Path) -> list[str]:
    """Return oasdiff's breaking changes, or why it failed; empty if it is not on PATH."""
    program = shutil.which("oasdiff")
    if program is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        # The output contains the file names, so they must be the same on every machine.
        Path(folder, "old.yaml").write_bytes(base)
        Path(folder, "new.yaml").write_bytes(spec.read_bytes())
        # A file rather than a pipe: a child process could hold a pipe open after the timeout.
        with Path(folder, "output").open("w+b") as output:
            try:
                run = subprocess.run(  # noqa: S603
                    [program, "breaking", "old.yaml", "new.yaml", "--format", "singleline"],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=OASDIFF_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return [f"timed out after {OASDIFF_SECONDS:g} seconds"]
            except OSError as error:
                return [f"cannot start: {error.strerror}"]
            output.seek(0)
            text = output.read().decode(errors="replace")
            lines = [line for line in text.splitlines() if line.strip()]
    return lines if run.returncode == 0 else [f"failed with exit code {run.returncode}:", *lines]


def markdown(changes: list[Change], second_opinion: list[str]) -> Iterator[str]:
    """Yield the lines of a pull request's description."""
    for level in LEVELS:
        found = [change for change in changes if change.level == level]
        if found:
            yield f"### {level.capitalize()}\n"
            yield from (f"- `{change.location}`: {change.sentence}" for change in found)
            yield ""
    if not changes:
        yield "The spec did not change."
    if second_opinion:
        yield "\n### oasdiff\n"
        yield from (f"    {line}" for line in second_opinion)


def compare(old: Node, new: Node) -> list[Change]:
    """Return the changes from `old` to `new`, most severe first."""
    changes = list(_compare(old, new))
    return sorted(
        dict.fromkeys(changes), key=lambda each: (LEVELS.index(each.level), each.location)
    )


def _compare(old: Node, new: Node) -> Iterator[Change]:
    if _urls(old) != _urls(new):
        yield Change(
            "risky", "servers", f"changed from {', '.join(_urls(old))} to {', '.join(_urls(new))}"
        )
    if old.get("info", {}).get("version") != new.get("info", {}).get("version"):
        yield Change("compatible", "info", f"version changed to {new['info'].get('version')}")
    before, after = _operations(old), _operations(new)
    for name in sorted(before.keys() - after.keys()):
        yield Change("breaking", name, "operation removed")
    for name in sorted(after.keys() - before.keys()):
        yield Change("compatible", name, "operation added")
    for name in sorted(before.keys() & after.keys()):
        yield from _Comparison(old, new, name).operation(before[name], after[name])


def _urls(document: Node) -> list[str]:
    return [str(server.get("url")) for server in document.get("servers", [])]


def _operations(document: Node) -> dict[str, Node]:
    """Return every operation, with the settings it inherits from its path and the document."""
    return {
        f"{method.upper()} {path}": {
            "security": document.get("security", []),
            "servers": item.get("servers", []),
            **item[method],
            "parameters": [*item.get("parameters", []), *item[method].get("parameters", [])],
        }
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


class _Comparison:
    """Compares one operation in two documents."""

    def __init__(self, old: Node, new: Node, name: str) -> None:
        self._old, self._new, self._name = old, new, name

    def operation(self, old: Node, new: Node) -> Iterator[Change]:
        if old.get("operationId") != new.get("operationId"):
            sentence = _changed("operationId", old.get("operationId"), new.get("operationId"))
            yield Change("breaking", self._name, f"{sentence}: the generated module is renamed")
        if old.get("tags", [])[:1] != new.get("tags", [])[:1]:
            yield Change("breaking", self._name, "first tag changed: the generated module moves")
        if _urls(old) != _urls(new):
            yield Change("risky", self._name, "servers of this operation changed")
        if new.get("deprecated") and not old.get("deprecated"):
            yield Change("risky", self._name, "operation deprecated")
        yield from self._security(_keys(old, self._old), _keys(new, self._new))
        yield from self._parameters(
            [_resolved(each, self._old) for each in old["parameters"]],
            [_resolved(each, self._new) for each in new["parameters"]],
        )
        yield from self._request(
            _resolved(old.get("requestBody", {}), self._old),
            _resolved(new.get("requestBody", {}), self._new),
        )
        yield from self._responses(old.get("responses", {}), new.get("responses", {}))
        if old.get("description") != new.get("description"):
            sentence = _new_description(old.get("description"), new.get("description"))
            yield Change("risky", self._name, sentence)

    def _security(self, old: list[Node], new: list[Node]) -> Iterator[Change]:
        if new and not old:
            yield Change("breaking", self._name, "an API key is now required")
        elif old and not new:
            yield Change("compatible", self._name, "an API key is no longer required")
        elif any(each not in new for each in old):
            yield Change("breaking", self._name, "the API key has changed, or is sent differently")
        elif any(each not in old for each in new):
            yield Change("compatible", self._name, "an alternative to the API key was added")

    def _parameters(self, old: list[Node], new: list[Node]) -> Iterator[Change]:
        before = {f"{each['in']} {each['name']}": each for each in old}
        after = {f"{each['in']} {each['name']}": each for each in new}
        for key in before.keys() | after.keys():
            location = f"{self._name} {key}"
            if key not in after:
                yield Change("breaking", location, "parameter removed")
                continue
            is_required = bool(after[key].get("required"))
            if key not in before:
                level = "breaking" if is_required else "compatible"
                yield Change(level, location, f"{'required ' * is_required}parameter added")
                continue
            if is_required and not before[key].get("required"):
                yield Change("breaking", location, "parameter is now required")
            if not is_required and before[key].get("required"):
                yield Change("compatible", location, "parameter is now optional")
            schemas = before[key].get("schema", {}), after[key].get("schema", {})
            yield from self._schema(*schemas, location, is_request=True)

    def _request(self, old: Node, new: Node) -> Iterator[Change]:
        location = f"{self._name} request"
        if new.get("required") and not old.get("required"):
            yield Change("breaking", location, "request body is now required")
        yield from self._content(old, new, location, is_request=True)

    def _responses(self, old: Node, new: Node) -> Iterator[Change]:
        before, after = (
            {
                str(status): _resolved(each, document)
                for status, each in responses.items()
                if str(status)[0] == "2"
            }
            for responses, document in ((old, self._old), (new, self._new))
        )
        for status in sorted(before.keys() - after.keys()):
            yield Change("breaking", self._name, f"success status {status} removed")
        for status in sorted(after.keys() - before.keys()):
            yield Change("risky", self._name, f"success status {status} added")
        for status in sorted(before.keys() & after.keys()):
            location = f"{self._name} {status}"
            yield from self._content(before[status], after[status], location, is_request=False)

    def _content(
        self, old: Node, new: Node, location: str, *, is_request: bool
    ) -> Iterator[Change]:
        before, after = old.get("content", {}), new.get("content", {})
        for media_type in sorted(before.keys() - after.keys()):
            yield Change("breaking", location, f"media type {media_type} removed")
        for media_type in sorted(after.keys() - before.keys()):
            yield Change("compatible", location, f"media type {media_type} added")
        for media_type in sorted(before.keys() & after.keys()):
            schemas = before[media_type].get("schema", {}), after[media_type].get("schema", {})
            yield from self._schema(*schemas, location, is_request=is_request)

    def _schema(
        self, old: Node, new: Node, location: str, *, is_request: bool, seen: tuple[str, ...] = ()
    ) -> Iterator[Change]:
        def change(kind: str, sentence: str, at: str = location) -> Change:
            return Change(LEVELS_BY_KIND[kind][0 if is_request else 1], at, sentence)

        names = _reference(old), _reference(new)
        if names[0] != names[1] and all(names):
            sentence = f"schema {names[0]} replaced by {names[1]}: the generated class is renamed"
            yield change("schema renamed", sentence)
        if names[0] and names[0] in seen:
            return
        seen = (*seen, names[0])
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        yield from _values(old, new, change)
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() | after.keys():
            at = f"{location}.{name}"
            was_required = name in old.get("required", [])
            is_required = name in new.get("required", [])
            if name not in after:
                yield change("property removed", "property removed", at)
            elif name not in before:
                kind = "required property added" if is_required else "property added"
                yield change(kind, kind, at)
            else:
                if is_required and not was_required:
                    yield change("made required", "property is now required", at)
                if was_required and not is_required:
                    yield change("made optional", "property is now optional", at)
                yield from self._schema(
                    before[name], after[name], at, is_request=is_request, seen=seen
                )
        if "items" in old and "items" in new:
            yield from self._schema(
                old["items"], new["items"], f"{location}[]", is_request=is_request, seen=seen
            )


def _values(old: Node, new: Node, change: Callable[[str, str], Change]) -> Iterator[Change]:
    """Yield the changes to a schema itself, without its properties and items."""
    if old.get("type") != new.get("type"):
        yield change("type changed", _changed("type", old.get("type"), new.get("type")))
    if new.get("nullable") and not old.get("nullable"):
        yield change("made nullable", "null is now allowed")
    if old.get("nullable") and not new.get("nullable"):
        yield change("made not nullable", "null is no longer allowed")
    yield from _enum(old.get("enum"), new.get("enum"), change)
    for name, is_higher_tighter in LIMITS.items():
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        is_tighter = was is None or (now is not None and (now > was) == is_higher_tighter)
        kind = "limit tightened" if is_tighter else "limit loosened"
        yield change(kind, _changed(name, was, now))
    for name in OTHER_CONSTRAINTS:
        was, now = old.get(name), new.get(name)
        if was != now:
            kind = "introduced" if was is None else "dropped" if now is None else "changed"
            yield change(f"constraint {kind}", _changed(name, was, now))
    if old.get("default") != new.get("default"):
        sentence = _changed("default", old.get("default"), new.get("default"))
        yield change("default changed", sentence)
    if old.get("description") != new.get("description"):
        sentence = _new_description(old.get("description"), new.get("description"))
        yield change("description changed", sentence)
    for name in NOT_COMPARED:
        if old.get(name) != new.get(name):
            yield change("not compared", f"{name} changed: review it manually")


def _enum(
    old: list[Any] | None, new: list[Any] | None, change: Callable[[str, str], Change]
) -> Iterator[Change]:
    if old is None and new is not None:
        yield change(
            "enum introduced", f"only these values are now allowed: {', '.join(map(str, new))}"
        )
    if old is not None and new is None:
        yield change("enum dropped", "any value is now allowed")
    for value in old or [] if new is not None else []:
        if value not in (new or []):
            yield change("value removed", f"value {value} removed")
    for value in new or [] if old is not None else []:
        if value not in (old or []):
            yield change("value added", f"value {value} added")


def _reference(schema: Node) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _resolved(node: Node, document: Node) -> Node:
    """Return the target of a reference, or the node itself if it isn't one."""
    while "$ref" in node:
        kind, name = ["", *str(node["$ref"]).split("/")][-2:]
        node = document.get("components", {}).get(kind, {}).get(name, {})
    return node


def _keys(operation: Node, document: Node) -> list[Node]:
    """Return the security requirements of an operation, with the details of each scheme."""
    schemes = document.get("components", {}).get("securitySchemes", {})
    parts = ("type", "scheme", "in", "name")
    return [
        {name: {part: schemes.get(name, {}).get(part) for part in parts} for name in requirement}
        for requirement in operation["security"]
    ]


def _new_description(was: str | None, now: str | None) -> str:
    """Return what changed in a description, on one line; it may state new rules."""
    shown = (f"“{' '.join(text.split())}”" if text else "nothing" for text in (was, now))
    return f"description changed: check it for new rules: was {next(shown)}, now {next(shown)}"


def _changed(name: str, was: Any, now: Any) -> str:
    if was is None:
        return f"{name} {now} added"
    if now is None:
        return f"{name} {was} removed"
    return f"{name} changed from {was} to {now}"


if __name__ == "__main__":
    sys.exit(main())
