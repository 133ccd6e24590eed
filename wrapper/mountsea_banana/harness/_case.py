"""A request to send, and the response that the contract requires."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from mountsea_banana.contract import Operation

from ._oracle import Expectation, Verdict

# Placeholders that are filled in when a request is sent: {key} is the first account's key, {other}
# the second account's, {cut} and {case} are corrupted copies of the first, {task} is a task id.
BEARER = ("Authorization", "Bearer {key}")
MAX_SHOWN_BYTES = 1000
JSON = ("Content-Type", "application/json")

# Names of checks that other modules select cases by.
VALID_BODIES = "valid bodies"
COMBINATIONS = "combinations"
POLLS = "polls"


@frozen
class Request:
    """One HTTP request, with placeholders for keys and task ids."""

    method: str
    target: str
    """The path and query, encoded."""
    headers: tuple[tuple[str, str], ...] = (BEARER,)
    body: bytes | None = None

    def curl(self, base_url: str, task: str = "TASK_ID") -> str:
        """Return a shell command that repeats the request, with the keys as variables."""
        words = ["curl", "-sS", "-i", "-X", self.method]
        for name, value in self.headers:
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
        pipe = comment = ""
        if self.body is not None:
            try:
                text = self.body.decode()
            except UnicodeDecodeError:
                text = "\x00"
            if "\x00" in text or len(text) > 4000:
                shown = "".join(f"\\x{byte:02x}" for byte in self.body[:MAX_SHOWN_BYTES])
                if len(self.body) > MAX_SHOWN_BYTES:
                    comment = f"  # {MAX_SHOWN_BYTES} of {len(self.body)} bytes"
                pipe = f"printf '%b' '{shown}' | "
                text = "@-"
            words += ["--data-binary", text]
        line = pipe + shlex.join([*words, base_url + self.target.replace("{task}", task)])
        for placeholder, variable in _VARIABLES.items():
            line = line.replace(placeholder, f"'\"{variable}\"'")
        return line + comment


_VARIABLES = {
    "{key}": "$MOUNTSEA_API_KEY",
    "{other}": "$MOUNTSEA_OTHER_API_KEY",
    "{cut}": "${MOUNTSEA_API_KEY%?}",
    "{case}": "${MOUNTSEA_API_KEY~~}",
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
    if not isinstance(body, dict):
        return {"body": type(body).__name__}
    found: dict[str, str] = {}
    for name, schema in properties.items():
        value = body.get(name)
        if name not in body:
            found[name] = "absent"
        elif isinstance(value, list) and value:
            found[name] = "one" if len(value) == 1 else "several"
            found[f"{name}[0]"] = json.dumps(value[0])[:60]
        elif isinstance(value, str) and value and "enum" not in schema:
            found[name] = "some text"
        else:
            found[name] = json.dumps(value)[:40]
    if not body.keys() <= properties.keys():
        found["other properties"] = "present"
    return found
