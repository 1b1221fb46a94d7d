"""A recipe's settings by dotted keys, so that two recipes can be compared."""

from __future__ import annotations

from typing import Any


def flat_settings(recipe: Any) -> dict[str, Any]:
    """All but where the run lies: ``{"select.budget": 400, "tasks.0.dataset": "llava"}``."""
    found = _flat(recipe, "")
    found.pop("output_dir", None)
    return found


def _flat(node: Any, key: str) -> dict[str, Any]:
    if isinstance(node, dict) and node:
        children = [(str(name), value) for name, value in node.items()]
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        children = [(str(number), item) for number, item in enumerate(node)]
    else:
        return {key: node} if key else {}
    found: dict[str, Any] = {}
    for name, value in children:
        found |= _flat(value, f"{key}.{name}" if key else name)
    return found
