"""The contract itself: loading the spec and the overlay, and validating request bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from attrs import field, frozen

from ._errors import ContractError
from ._operations import RULES_SCHEMA, Operation, read_operations
from ._overlay import apply_overlay
from ._schemas import Problem, Schema

# The C loader reads the spec ten times faster, but not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@frozen
class Rule:
    """A rule from the vendor's prose, as JSON Schema."""

    id: str
    """The rule's id, such as `edit-needs-image-urls`. The client's rule has the same id."""
    sentence: str
    """The vendor's own words, as they appear in the spec."""
    schema: Schema = field(repr=False)
    """The schema that a request body must conform to."""


@frozen
class Contract:
    """What every server of this API must conform to."""

    document: Mapping[str, Any] = field(repr=False)
    """The effective OpenAPI document: the spec with the overlay applied."""
    source: bytes = field(repr=False)
    """The spec as it was published."""
    rules: tuple[Rule, ...]
    """The prose rules; they apply to request bodies of the schema NanoImageDto."""
    operations: tuple[Operation, ...]
    """The operations, in the order of the spec."""

    @classmethod
    def load(cls, spec: Path | None = None) -> Self:
        """Load the overlay and a spec, by default the one bundled with the generated client.

        Raises ContractError if a file cannot be read, a target of the overlay matches nothing, or
        a rule quotes a sentence that is no longer in the spec.
        """
        shipped = resources.files("mountsea_api") / "openapi.yaml"
        try:
            source = spec.read_bytes() if spec else shipped.read_bytes()
        except OSError as error:
            raise ContractError(f"cannot read the spec {spec}: {error.strerror}") from error
        published = _parse(source, str(spec or "openapi.yaml"))
        overlay = (resources.files("mountsea_banana.contract") / "rules.overlay.yaml").read_bytes()
        return cls.build(published, _parse(overlay, "rules.overlay.yaml"), source)

    @classmethod
    def build(
        cls, published: Mapping[str, Any], overlay: Mapping[str, Any], source: bytes = b""
    ) -> Self:
        """Build the contract from a parsed spec and a parsed overlay. Raises ContractError."""
        document = apply_overlay(published, overlay)
        try:
            schema = document.get("components", {}).get("schemas", {}).get(RULES_SCHEMA, {})
            rules = tuple(
                Rule(part["x-rule-id"], part["x-vendor-sentence"], Schema(part, {}))
                for part in schema.get("allOf", [])
                if "x-rule-id" in part
            )
            _check_sentences(rules, published)
            operations = tuple(read_operations(document))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the spec is not a usable OpenAPI document: {error!r}") from error
        return cls(document, source, rules, operations)

    def violated_rules(self, body: object) -> list[Rule]:
        """Return the prose rules that a request body violates."""
        return [rule for rule in self.rules if not rule.schema.is_valid(body)]

    def problems(self, operation: Operation, body: object) -> list[Problem]:
        """Return everything wrong with a request body; empty if the body conforms."""
        problems = list(operation.request.problems(body)) if operation.request else []
        if operation.has_rules:
            problems += [
                Problem(rule.id, "", f"the rule is: {rule.sentence}")
                for rule in self.violated_rules(body)
            ]
        return problems


def _check_sentences(rules: tuple[Rule, ...], published: Mapping[str, Any]) -> None:
    descriptions = [" ".join(text.split()) for text in _descriptions(published)]
    for rule in rules:
        if not any(" ".join(rule.sentence.split()) in text for text in descriptions):
            raise ContractError(
                f"the spec no longer says {rule.sentence!r}: check whether the rule {rule.id} "
                "still holds, and update rules.overlay.yaml"
            )


def _descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("description"), str):
            yield node["description"]
        for child in node.values():
            yield from _descriptions(child)


def _parse(source: bytes, name: str) -> dict[str, Any]:
    try:
        document = yaml.load(source, Loader=_LOADER)  # noqa: S506 - a safe loader either way
    except (yaml.YAMLError, UnicodeError) as error:
        raise ContractError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{name} is not a mapping")
    return document
