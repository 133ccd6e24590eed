"""A request to send, and what the contract says of the answer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from mountsea_banana.contract import Operation

from ._oracle import Judgement, Verdict

# Texts in a request that stand for what only a run knows: {key} is the first account's key,
# {other} the second's, {cut} and {case} are spoilt copies of the first, {task} is a task's id.
BEARER = ("Authorization", "Bearer {key}")
SHOWN = 1000
JSON = ("Content-Type", "application/json")


@frozen
class Request:
    """One HTTP request, with placeholders for keys and task ids."""

    method: str
    target: str
    """Path and query as they are sent."""
    headers: tuple[tuple[str, str], ...] = (BEARER,)
    body: bytes | None = None

    def curl(self, base_url: str, task: str = "TASK_ID") -> str:
        """Return the shell line that sends it again, with the keys as variables."""
        words = ["curl", "-sS", "-i", "-X", self.method]
        for name, value in self.headers:
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
        prefix = cut = ""
        if self.body is not None:
            try:
                text = self.body.decode()
            except UnicodeDecodeError:
                text = "\x00"
            if "\x00" in text or len(text) > 4000:
                shown = "".join(f"\\x{byte:02x}" for byte in self.body[:SHOWN])
                cut = f"  # {SHOWN} of {len(self.body)} bytes" * (len(self.body) > SHOWN)
                prefix = f"printf '%b' '{shown}' | "
                text = "@-"
            words += ["--data-binary", text]
        line = prefix + shlex.join([*words, base_url + self.target.replace("{task}", task)])
        for placeholder, variable in _VARIABLES.items():
            line = line.replace(placeholder, f"'\"{variable}\"'")
        return line + cut


_VARIABLES = {
    "{key}": "$MOUNTSEA_API_KEY",
    "{other}": "$MOUNTSEA_OTHER_API_KEY",
    "{cut}": "${MOUNTSEA_API_KEY%?}",
    "{case}": "${MOUNTSEA_API_KEY~~}",
}


@frozen
class Case:
    """One request with what the contract says of it."""

    check: str
    """The group that it belongs to, as a report names it."""
    operation: Operation
    request: Request
    judgement: Judgement
    what: str = ""
    """What sets it apart from others of its check; empty where its features do."""
    features: Mapping[str, str] = field(factory=dict)
    """The properties of its body, for telling what failing cases have in common."""
    refusals: frozenset[int] = frozenset(range(400, 500)) - {401}
    """The statuses that count as a refusal."""
    may_drop: bool = False
    """Whether a closed connection is as good as a refusal, as for a body that is too large."""

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def is_submission(self) -> bool:
        """Whether a success makes a task."""
        return self.operation.is_submission and self.request.method == self.operation.method

    @property
    def may_cost(self) -> bool:
        """Whether a server that keeps the contract may accept it as a submission."""
        return self.is_submission and self.verdict is not Verdict.REJECT


def encode(body: Any) -> bytes:
    """Return a body as JSON, with escapes only where UTF-8 cannot carry a character."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":")).encode()


def features(body: Any, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what a body holds, property by property, in words short enough to compare."""
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
            found[name] = "a text"
        else:
            found[name] = json.dumps(value)[:40]
    if not body.keys() <= properties.keys():
        found["other properties"] = "given"
    return found
