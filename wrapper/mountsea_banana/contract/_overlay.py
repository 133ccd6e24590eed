"""Applying an OpenAPI Overlay 1.0 document to a spec."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ._errors import ContractError


def apply_overlay(published: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `published` with every action of `overlay` applied.

    Both are parsed documents. Objects are merged, and arrays concatenated. A target is a path of
    names from `$`, in which `*` matches every name. Raises ContractError if a target matches
    nothing.
    """
    document = copy.deepcopy(dict(published))
    for action in overlay["actions"]:
        nodes: list[Any] = [document]
        for name in action["target"].split(".")[1:]:
            nodes = [child for node in nodes for child in _children(node, name)]
        if not nodes:
            raise ContractError(
                f"the overlay's target {action['target']} matches nothing in the spec: "
                "update or remove the action in rules.overlay.yaml"
            )
        for node in nodes:
            _merge(node, action["update"])
    return document


def _children(node: Any, name: str) -> list[Any]:
    if not isinstance(node, dict):
        return []
    if name == "*":
        return list(node.values())
    return [node[name]] if name in node else []


def _merge(node: dict[str, Any], update: Mapping[str, Any]) -> None:
    for name, value in update.items():
        if isinstance(value, dict) and isinstance(node.get(name), dict):
            _merge(node[name], value)
        elif isinstance(value, list) and isinstance(node.get(name), list):
            node[name] = node[name] + copy.deepcopy(value)
        else:
            node[name] = copy.deepcopy(value)
