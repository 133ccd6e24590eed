"""The contract itself: loading the spec and the overlay, and validating request bodies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

import yaml
from attrs import field, frozen

from ._errors import ContractError
from ._operations import Operation, read_operations
from ._overlay import apply_overlay
from ._rules import Rule, inline_rules, rule_ids

# The C loader reads the spec ten times faster, but not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@frozen
class Contract:
    """What every server of this API must conform to."""

    document: Mapping[str, Any] = field(repr=False)
    """The effective OpenAPI document: the spec with the overlay applied."""
    source: bytes = field(repr=False)
    """The spec as it was published."""
    rules: tuple[Rule, ...]
    """The prose rules of all operations, each once."""
    operations: tuple[Operation, ...]
    """The operations, in the order of the spec."""

    @classmethod
    def load(cls, spec: Path | None = None, overlay: Path | None = None) -> Self:
        """Load a spec and an overlay, by default those of the image API.

        Raises ContractError if a file cannot be read, a target of the overlay matches nothing, or
        a rule quotes a sentence that is no longer in the spec.
        """
        source = _read(spec or resources.files("mountsea_api") / "openapi.yaml")
        rules = overlay or resources.files("mountsea_banana.contract") / "rules.overlay.yaml"
        published = _parse(source, str(spec or "openapi.yaml"))
        return cls.build(published, _parse(_read(rules), rules.name), source)

    @classmethod
    def build(
        cls, published: Mapping[str, Any], overlay: Mapping[str, Any], source: bytes = b""
    ) -> Self:
        """Build the contract from a parsed spec and a parsed overlay. Raises ContractError."""
        document = apply_overlay(published, overlay)
        try:
            document = inline_rules(document, document)
            operations = read_operations(document)
            rules = {rule.id: rule for each in operations for rule in _rules_of(each)}
            unused = set(rule_ids(document)) - rules.keys()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the spec is not a usable OpenAPI document: {error!r}") from error
        if unused:
            raise ContractError(
                f"the rule {min(unused)} applies to no request and no response: add it to the "
                "allOf of a schema, one of its properties or its items"
            )
        _check_sentences(rules.values(), published)
        return cls(document, source, tuple(rules.values()), operations)


def _rules_of(operation: Operation) -> tuple[Rule, ...]:
    return (*operation.rules, *(operation.success.rules if operation.success else ()))


def _check_sentences(rules: Iterable[Rule], published: Mapping[str, Any]) -> None:
    descriptions = [" ".join(text.split()) for text in _descriptions(published)]
    for rule in rules:
        if not any(" ".join(rule.sentence.split()) in text for text in descriptions):
            raise ContractError(
                f"the spec does not say {rule.sentence!r}: check whether the rule {rule.id} still "
                "holds, and update the overlay"
            )


def _descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping) and isinstance(node.get("description"), str):
        yield node["description"]
    children = node.values() if isinstance(node, Mapping) else node
    for child in children if isinstance(node, Mapping | list) else ():
        yield from _descriptions(child)


def _read(path: Path | Traversable) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(f"cannot read {path}: {error.strerror}") from error


def _parse(source: bytes, name: str) -> dict[str, Any]:
    try:
        document = yaml.load(source, Loader=_LOADER)  # noqa: S506 - a safe loader either way
    except (yaml.YAMLError, UnicodeError) as error:
        raise ContractError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{name} is not a mapping")
    return document
