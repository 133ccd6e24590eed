"""Say what a change of the spec means for people who call the API, the client or the wrapper.

    python scripts/spec_diff.py [--base REF-OR-FILE] [--format markdown]

Each line is `breaking:` (something that worked will fail), `risky:` (it need not fail, and wants a
look) or `compatible:`, with the place and one sentence. Exits with 1 where anything is breaking, 0
otherwise, 2 where there is nothing to compare.

Where oasdiff is on PATH, what it finds breaking follows as a second opinion: it knows parts of
OpenAPI that this tool does not look into. It has no say in the exit status, which is to be the same
on every machine.
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
    """Why two specs cannot be compared, in one line for a person."""


@frozen
class Change:
    """One difference, and what it means."""

    level: str
    place: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.level}: {self.place}: {self.sentence}"


# For each limit: whether a higher value is the tighter one.
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
# What a request must keep, or an answer promises, and no order says which of two is tighter.
FORMS = ("pattern", "format", "multipleOf", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum")
# What this tool does not look into.
OPAQUE = ("allOf", "anyOf", "oneOf", "not", "additionalProperties", "discriminator")

# What a change means to whoever sends a request, and to whoever reads an answer.
MEANING = {
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
    "form introduced": ("breaking", "compatible"),
    "form changed": ("breaking", "risky"),
    "form dropped": ("compatible", "risky"),
    "default changed": ("risky", "compatible"),
    "schema renamed": ("breaking", "breaking"),
    "words changed": ("risky", "compatible"),
    "opaque": ("risky", "risky"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", default="HEAD", help="a git reference or a file")
    parser.add_argument("--spec", type=Path, default=SPEC)
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    options = parser.parse_args(arguments)
    try:
        base = read_base(options.base)
        changes = compare(read(base, options.base), read_file(options.spec))
    except DiffError as error:
        print(f"spec-diff: {error}", file=sys.stderr)
        return 2
    opinion = oasdiff(base, options.spec)
    if options.format == "markdown":
        print("\n".join(markdown(changes, opinion)))
    else:
        print("\n".join(map(str, changes)) or "spec-diff: nothing changed")
        for line in opinion:
            print(f"oasdiff: {line}")
    return int(any(change.level == "breaking" for change in changes))


def read_base(base: str) -> bytes:
    """Return the spec at a git reference, or in a file. Raises DiffError."""
    if Path(base).is_file():
        return Path(base).read_bytes()
    shown = subprocess.run(  # noqa: S603
        ["git", "show", f"{base}:{SPEC.name}"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if shown.returncode or base.startswith("-"):
        raise DiffError(f"{base!r} is neither a file nor a git reference that has {SPEC.name}")
    return shown.stdout


def read_file(path: Path) -> Node:
    """Return the spec in a file. Raises DiffError."""
    try:
        return read(path.read_bytes(), path.name)
    except OSError as error:
        raise DiffError(f"cannot read {path}: {error.strerror}") from error


def read(content: bytes, name: str) -> Node:
    """Return the spec in a text. Raises DiffError."""
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError) as error:
        raise DiffError(f"{name} is no YAML: {' '.join(str(error).split())}") from error
    try:
        validate(document)
    except Exception as error:  # the validator's own failures too, on what is no document at all
        raise DiffError(f"{name} is no OpenAPI document: {error!r:.200}") from error
    spec: Node = document
    return spec


def oasdiff(base: bytes, spec: Path) -> list[str]:
    """Return what oasdiff finds breaking, or why it could not; empty where it is not on PATH."""
    program = shutil.which("oasdiff")
    if program is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        # Its lines name the files, so these are named alike on every machine.
        Path(folder, "old.yaml").write_bytes(base)
        Path(folder, "new.yaml").write_bytes(spec.read_bytes())
        # A file and no pipe: a child of the program could hold a pipe open beyond the time-out.
        with Path(folder, "said").open("w+b") as said:
            try:
                run = subprocess.run(  # noqa: S603
                    [program, "breaking", "old.yaml", "new.yaml", "--format", "singleline"],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    timeout=OASDIFF_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return [f"no answer within {OASDIFF_SECONDS:g} seconds"]
            except OSError as error:
                return [f"cannot be run: {error.strerror}"]
            said.seek(0)
            lines = [
                line for line in said.read().decode(errors="replace").splitlines() if line.strip()
            ]
    return lines if run.returncode == 0 else [f"failed with exit status {run.returncode}:", *lines]


def markdown(changes: list[Change], opinion: list[str]) -> Iterator[str]:
    """Give the lines of a pull request's text."""
    for level in LEVELS:
        found = [change for change in changes if change.level == level]
        if found:
            yield f"### {level.capitalize()}\n"
            yield from (f"- `{change.place}`: {change.sentence}" for change in found)
            yield ""
    if not changes:
        yield "The spec did not change."
    if opinion:
        yield "\n### oasdiff\n"
        yield from (f"    {line}" for line in opinion)


def compare(old: Node, new: Node) -> list[Change]:
    """Return what changed from one document to another, the worst first."""
    changes = list(_compare(old, new))
    return sorted(dict.fromkeys(changes), key=lambda each: (LEVELS.index(each.level), each.place))


def _compare(old: Node, new: Node) -> Iterator[Change]:
    if _urls(old) != _urls(new):
        yield Change("risky", "servers", f"{', '.join(_urls(old))} became {', '.join(_urls(new))}")
    if old.get("info", {}).get("version") != new.get("info", {}).get("version"):
        yield Change("compatible", "info", f"the version is now {new['info'].get('version')}")
    before, after = _operations(old), _operations(new)
    for name in sorted(before.keys() - after.keys()):
        yield Change("breaking", name, "the operation is gone")
    for name in sorted(after.keys() - before.keys()):
        yield Change("compatible", name, "the operation is new")
    for name in sorted(before.keys() & after.keys()):
        yield from _Comparison(old, new, name).operation(before[name], after[name])


def _urls(document: Node) -> list[str]:
    return [str(server.get("url")) for server in document.get("servers", [])]


def _operations(document: Node) -> dict[str, Node]:
    """Return each operation, with its path's parameters and the document's security."""
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
    """Compares one operation of two documents."""

    def __init__(self, old: Node, new: Node, name: str) -> None:
        self._old, self._new, self._name = old, new, name

    def operation(self, old: Node, new: Node) -> Iterator[Change]:
        if old.get("operationId") != new.get("operationId"):
            sentence = f"the operationId {old.get('operationId')} became {new.get('operationId')}"
            yield Change("breaking", self._name, f"{sentence}: the generated module is renamed")
        if old.get("tags", [])[:1] != new.get("tags", [])[:1]:
            yield Change(
                "breaking", self._name, "the first tag changed: the generated module moved"
            )
        if _urls(old) != _urls(new):
            yield Change("risky", self._name, "the servers of its own changed")
        if new.get("deprecated") and not old.get("deprecated"):
            yield Change("risky", self._name, "the operation is deprecated now")
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
            yield Change("risky", self._name, "the description changed: does a rule stand in it?")

    def _security(self, old: list[Node], new: list[Node]) -> Iterator[Change]:
        if new and not old:
            yield Change("breaking", self._name, "a key is needed now")
        elif old and not new:
            yield Change("compatible", self._name, "no key is needed any more")
        elif old != new:
            yield Change("breaking", self._name, "the key is another, or goes elsewhere")

    def _parameters(self, old: list[Node], new: list[Node]) -> Iterator[Change]:
        before = {f"{each['in']} {each['name']}": each for each in old}
        after = {f"{each['in']} {each['name']}": each for each in new}
        for key in before.keys() | after.keys():
            place = f"{self._name} {key}"
            if key not in after:
                yield Change("breaking", place, "the parameter is gone")
                continue
            is_required = bool(after[key].get("required"))
            if key not in before:
                level = "breaking" if is_required else "compatible"
                yield Change(level, place, f"the parameter is new{' and required' * is_required}")
                continue
            if is_required and not before[key].get("required"):
                yield Change("breaking", place, "the parameter is required now")
            if not is_required and before[key].get("required"):
                yield Change("compatible", place, "the parameter is optional now")
            schemas = before[key].get("schema", {}), after[key].get("schema", {})
            yield from self._schema(*schemas, place, is_request=True)

    def _request(self, old: Node, new: Node) -> Iterator[Change]:
        place = f"{self._name} request"
        if new.get("required") and not old.get("required"):
            yield Change("breaking", place, "the body is required now")
        yield from self._content(old, new, place, is_request=True)

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
            yield Change("breaking", self._name, f"the success is no longer {status}")
        for status in sorted(after.keys() - before.keys()):
            yield Change("risky", self._name, f"a success may be {status} now")
        for status in sorted(before.keys() & after.keys()):
            place = f"{self._name} {status}"
            yield from self._content(before[status], after[status], place, is_request=False)

    def _content(self, old: Node, new: Node, place: str, *, is_request: bool) -> Iterator[Change]:
        before, after = old.get("content", {}), new.get("content", {})
        for media_type in sorted(before.keys() - after.keys()):
            yield Change("breaking", place, f"{media_type} is gone")
        for media_type in sorted(after.keys() - before.keys()):
            yield Change("compatible", place, f"{media_type} is new")
        for media_type in sorted(before.keys() & after.keys()):
            schemas = before[media_type].get("schema", {}), after[media_type].get("schema", {})
            yield from self._schema(*schemas, place, is_request=is_request)

    def _schema(
        self, old: Node, new: Node, place: str, *, is_request: bool, seen: tuple[str, ...] = ()
    ) -> Iterator[Change]:
        def change(kind: str, sentence: str, at: str = place) -> Change:
            return Change(MEANING[kind][0 if is_request else 1], at, sentence)

        names = _reference(old), _reference(new)
        if names[0] != names[1] and all(names):
            sentence = f"the schema {names[0]} became {names[1]}: the generated class is renamed"
            yield change("schema renamed", sentence)
        if names[0] and names[0] in seen:
            return
        seen = (*seen, names[0])
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        yield from _values(old, new, change)
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() | after.keys():
            at = f"{place}.{name}"
            was_required = name in old.get("required", [])
            is_required = name in new.get("required", [])
            if name not in after:
                yield change("property removed", "the property is gone", at)
            elif name not in before:
                kind = "required property added" if is_required else "property added"
                yield change(kind, f"the property is new{' and required' * is_required}", at)
            else:
                if is_required and not was_required:
                    yield change("made required", "the property is required now", at)
                if was_required and not is_required:
                    yield change("made optional", "the property may be absent now", at)
                yield from self._schema(
                    before[name], after[name], at, is_request=is_request, seen=seen
                )
        if "items" in old and "items" in new:
            yield from self._schema(
                old["items"], new["items"], f"{place}[]", is_request=is_request, seen=seen
            )


def _values(old: Node, new: Node, change: Callable[[str, str], Change]) -> Iterator[Change]:
    """Give what changed in a schema itself, not in its parts."""
    if old.get("type") != new.get("type"):
        yield change("type changed", f"the type {old.get('type')} became {new.get('type')}")
    if new.get("nullable") and not old.get("nullable"):
        yield change("made nullable", "it may be null now")
    if old.get("nullable") and not new.get("nullable"):
        yield change("made not nullable", "it may not be null any more")
    yield from _enum(old.get("enum"), new.get("enum"), change)
    for name, is_higher_tighter in LIMITS.items():
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        is_tighter = was is None or (now is not None and (now > was) == is_higher_tighter)
        kind = "limit tightened" if is_tighter else "limit loosened"
        yield change(kind, f"{name} was {_shown(was)} and is {_shown(now)}")
    for name in FORMS:
        was, now = old.get(name), new.get(name)
        if was != now:
            kind = "introduced" if was is None else "dropped" if now is None else "changed"
            yield change(f"form {kind}", f"{name} was {_shown(was)} and is {_shown(now)}")
    if old.get("default") != new.get("default"):
        shown = _shown(old.get("default")), _shown(new.get("default"))
        yield change("default changed", f"the default was {shown[0]} and is {shown[1]}")
    if old.get("description") != new.get("description"):
        yield change("words changed", "the description changed: does a rule stand in it?")
    for name in OPAQUE:
        if old.get(name) != new.get(name):
            yield change("opaque", f"{name} changed, which this tool does not look into")


def _enum(
    old: list[Any] | None, new: list[Any] | None, change: Callable[[str, str], Change]
) -> Iterator[Change]:
    if old is None and new is not None:
        yield change("enum introduced", f"only {', '.join(map(str, new))} are allowed now")
    if old is not None and new is None:
        yield change("enum dropped", "any value may stand here now")
    for value in old or [] if new is not None else []:
        if value not in (new or []):
            yield change("value removed", f"the value {value} is gone")
    for value in new or [] if old is not None else []:
        if value not in (old or []):
            yield change("value added", f"the value {value} is new")


def _reference(schema: Node) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _resolved(node: Node, document: Node) -> Node:
    """Return what a reference stands for; anything else as it is."""
    while "$ref" in node:
        kind, name = ["", *str(node["$ref"]).split("/")][-2:]
        node = document.get("components", {}).get(kind, {}).get(name, {})
    return node


def _keys(operation: Node, document: Node) -> list[Node]:
    """Return the keys that an operation needs, each set of them with where they go."""
    schemes = document.get("components", {}).get("securitySchemes", {})
    parts = ("type", "scheme", "in", "name")
    return [
        {name: {part: schemes.get(name, {}).get(part) for part in parts} for name in requirement}
        for requirement in operation["security"]
    ]


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
