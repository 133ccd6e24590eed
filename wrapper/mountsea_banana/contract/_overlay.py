"""Applying an OpenAPI Overlay 1.0 document to a spec."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from jsonpath import JSONPathEnvironment, JSONPathError, JSONPathMatch

from ._errors import ContractError

# Strict means RFC 9535 without the library's own extensions.
_JSONPATH = JSONPathEnvironment(strict=True)
_FIELDS = {"target", "description", "update", "remove"}


def apply_overlay(published: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `published` with every action of `overlay` applied.

    Both are parsed documents. An update is merged into each object that its target selects, arrays
    being concatenated, and appended to each array. Raises ContractError if an action is invalid, or
    if its target matches nothing.
    """
    document = copy.deepcopy(dict(published))
    actions = overlay.get("actions")
    if not isinstance(actions, list):
        raise ContractError("the overlay has no list of actions")
    for action in actions:
        if not isinstance(action, Mapping) or not {"target"} < action.keys() <= _FIELDS:
            raise ContractError(
                f"each action of the overlay has a target and an update or remove, unlike {action}"
            )
        _apply(action, document)
    return document


def _apply(action: Mapping[str, Any], document: dict[str, Any]) -> None:
    target, update = action["target"], action.get("update")
    matches = _find(target, document)
    if action.get("remove"):
        for match in reversed(matches):  # so that the positions of the others stay right
            if match.parent is None:
                raise ContractError("the overlay removes the whole spec")
            del match.parent.obj[match.parts[-1]]  # type: ignore[attr-defined]
        return
    for match in matches:
        if isinstance(match.obj, dict) and isinstance(update, dict):
            _merge(match.obj, update)
        elif isinstance(match.obj, list) and update is not None:
            match.obj.append(copy.deepcopy(update))
        else:
            raise ContractError(
                f"the overlay cannot update {match.path}: an update is an object that is merged "
                "into an object, or an entry that is appended to an array"
            )


def _find(target: Any, document: Mapping[str, Any]) -> list[JSONPathMatch]:
    try:
        matches = list(_JSONPATH.finditer(str(target), document))
    except JSONPathError as error:
        reason = str(error).partition("\n")[0]
        raise ContractError(f"the overlay's target {target} is not a JSONPath: {reason}") from error
    if not matches:
        raise ContractError(
            f"the overlay's target {target} matches nothing in the spec: update or remove the "
            "action in the overlay"
        )
    return matches


def _merge(node: dict[str, Any], update: Mapping[str, Any]) -> None:
    for name, value in update.items():
        if isinstance(value, dict) and isinstance(node.get(name), dict):
            _merge(node[name], value)
        elif isinstance(value, list) and isinstance(node.get(name), list):
            node[name] = node[name] + copy.deepcopy(value)
        else:
            node[name] = copy.deepcopy(value)
