"""A request to send, and the response that the contract requires."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from attrs import field, frozen

from mountsea_banana.contract import Operation

from ._oracle import Expectation, Verdict

# Placeholders that are filled in when a request is sent: {key} is the first account's key, {other}
# the second account's, {cut} and {case} are corrupted copies of the first, {task} is a task id.
# {encoded_task} is that id with every byte percent-encoded, {cut_task} lacks its last character.
BEARER = ("Authorization", "Bearer {key}")
OTHER_BEARER = ("Authorization", "Bearer {other}")
MAX_ARGUMENT_BYTES = 4000
# Without its last character, a shorter id may be another task's.
MIN_CUT_ID = 8
# Text is described by the lengths that it exceeds.
TEXT_LENGTHS = (256, 1_000, 2_000, 4_000, 16_000)
LONG_ITEM = 256
JSON = ("Content-Type", "application/json")

# Every object in JavaScript has properties of these names.
OBJECT_NAMES = frozenset({"constructor", "toString"})

# Names of checks that other modules select cases by.
TASKS = "tasks"
VALID_BODIES = "valid bodies"
COMBINATIONS = "combinations"
GENERATED = "generated bodies"
POLLS = "polls"
BURSTS = "a burst of polls"
REPEATS = "repeats"
ENCODINGS = "valid encodings"


@frozen
class Request:
    """One HTTP request, with placeholders for keys and task ids."""

    method: str
    target: str
    """The path and query, encoded."""
    headers: tuple[tuple[str, str], ...] = (BEARER,)
    body: bytes | None = None

    @property
    def needs_file(self) -> bool:
        """Whether the body is too long for a command line."""
        return len(self.body or b"") > MAX_ARGUMENT_BYTES

    @property
    def names_task(self) -> bool:
        """Whether the request needs the id of a task."""
        return self.target_of("") != self.target

    def target_of(self, task: str) -> str:
        """Return the path and query with the id of a task."""
        cut = task[:-1] if len(task) >= MIN_CUT_ID else "unknown"
        encoded = "".join(f"%{byte:02X}" for byte in task.encode())
        target = self.target.replace("{task}", quote(task, safe=""))
        return target.replace("{cut_task}", quote(cut, safe="")).replace("{encoded_task}", encoded)

    def curl(self, base_url: str, task: str = "TASK_ID", body_file: str = "") -> str:
        """Return a command for sh that repeats the request, with the keys as variables.

        It reads a body that is too long for a command line from `body_file`.
        """
        words = ["curl", "-sS", "-i", "-g"]
        words += ["--head"] if self.method == "HEAD" else ["-X", self.method]
        for name, value in self.headers:
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
        pipe = ""
        if self.body is not None and self.needs_file:
            words += ["--data-binary", f"@{body_file}"]
        elif self.body is not None:
            text = self.body.decode("utf-8", "replace")
            if "\x00" in text or "\ufffd" in text:
                pipe = "printf '" + "".join(f"\\{byte:03o}" for byte in self.body) + "' | "
                text = "@-"
            words += ["--data-binary", text]
        line = pipe + shlex.join([*words, base_url + self.target_of(task)])
        for placeholder, variable in _VARIABLES.items():
            line = line.replace(placeholder, f"'\"{variable}\"'")
        return line


_VARIABLES = {
    "{key}": "$MOUNTSEA_API_KEY",
    "{other}": "$MOUNTSEA_OTHER_API_KEY",
    "{cut}": "${MOUNTSEA_API_KEY%?}",
    "{case}": '$(printf %s "$MOUNTSEA_API_KEY" | tr A-Za-z a-zA-Z)',
}


@frozen
class Case:
    """One request and its expectation."""

    check: str
    """The group that the case belongs to, as reports name it."""
    operation: Operation
    request: Request
    expectation: Expectation
    variant: str = ""
    """How the case differs from others of its check; empty if its features describe that."""
    features: Mapping[str, str] = field(factory=dict)
    """The properties of its body, to find out what failing cases have in common."""
    rejection_statuses: frozenset[int] = frozenset(range(400, 500)) - {401}
    """The statuses that count as a rejection."""
    is_odd: bool = False
    """Whether no client sends such a request: anything wrong with its response is a warning."""
    may_disconnect: bool = False
    """Whether the server may close the connection instead, for example if the body is too large."""

    @property
    def verdict(self) -> Verdict:
        return self.expectation.verdict

    @property
    def is_submission(self) -> bool:
        """Whether a successful response creates a task."""
        return self.operation.is_submission and self.request.method == self.operation.method

    @property
    def may_cost(self) -> bool:
        """Whether a server that conforms to the contract may accept and charge it."""
        return self.is_submission and self.verdict is not Verdict.REJECT


def encode(body: Any) -> bytes:
    """Return a body as JSON, escaped only if UTF-8 cannot encode one of its characters."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":")).encode()


def features(body: Any, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a short description of each property of a body, for comparison with other bodies."""
    if body is None:
        return {}
    if not isinstance(body, dict):
        return {"body": type(body).__name__}
    found: dict[str, str] = {}
    for name, schema in properties.items():
        value = body.get(name)
        if name not in body:
            found[name] = "absent"
        elif isinstance(value, list) and value:
            found[name] = "one" if len(value) == 1 else "several"
            found[f"{name} length"] = str(len(value))
            if len({json.dumps(item) for item in value}) < len(value):
                found[f"{name} with repeated items"] = "yes"
            if any(len(str(item)) > LONG_ITEM for item in value):
                found[f"{name} with long items"] = "yes"
            for item in value:
                scheme, separator, _ = str(item).partition("://")
                found |= {f"{name} with {scheme[:20]}": "yes"} if separator else {}
            found[f"{name}[0]"] = json.dumps(value[0])[:60]
        elif isinstance(value, str) and value and "enum" not in schema:
            found[name] = "some text"
            for length in TEXT_LENGTHS:
                if len(value) > length:
                    found[f"{name} over {length:,} characters"] = "yes"
        else:
            found[name] = json.dumps(value)[:40]
    others = body.keys() - properties.keys()
    if others:
        found["other properties"] = "of every object" if others <= OBJECT_NAMES else "present"
    return found
