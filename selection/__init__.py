"""Which rows to train on: arrays in, row positions out.

Nothing heavy is imported until it is asked for (PEP 562), so ``selection.names`` costs no numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from selection.names import METHODS, SCORES

if TYPE_CHECKING:
    from selection.centroids import Assignment, assign
    from selection.choice import Choice, ClusterReport, Request
    from selection.pool import Pool
    from selection.pruning import Pruning, prune
    from selection.registry import register
    from selection.selector import Selection, select

__all__ = [
    "METHODS",
    "SCORES",
    "Assignment",
    "Choice",
    "ClusterReport",
    "Pool",
    "Pruning",
    "Request",
    "Selection",
    "assign",
    "prune",
    "register",
    "select",
]


def __getattr__(name: str) -> object:
    """The public name, from the module that defines it."""
    homes = {
        "Assignment": "centroids",
        "assign": "centroids",
        "Pool": "pool",
        "Pruning": "pruning",
        "prune": "pruning",
        "Choice": "choice",
        "ClusterReport": "choice",
        "Request": "choice",
        "register": "registry",
        "Selection": "selector",
        "select": "selector",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
