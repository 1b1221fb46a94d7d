"""What is known before a step trains of how much a skill will lose in it. Arrays in, numbers out.

Every row s of the pool has the gradient g_s = norm_s * unit_s of its own loss, made with the
adapter that the step starts from. Training on rows S moves the weights along minus their sum, which
raises the loss of a skill whose gradient points the other way: to first order by minus the product
of the two sums, times the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUPS: Mapping[str, Mapping[str, str]] = {
    "conflict": {"conflict": "minus the cosine of the selected rows' gradient and the skill's"},
    "row conflict": {
        "row_conflict": "minus the mean cosine of single selected rows and the skill's gradient",
        "opposed": "share of selected rows whose gradient points against the skill's",
    },
    "replay": {
        "share": "the skill's share of the selected rows",
        "since": "steps since any row of the skill was selected",
    },
    "push": {
        "push": "length of the selected rows' summed gradient",
        "path": "learning rate times optimiser steps",
    },
    "familiarity": {
        "drift": "rise of the skill's log perplexity since it was learned",
        "log_perplexity": "the skill's mean log perplexity now",
    },
    "level": {"level": "the skill's score after the step before, percent"},
}
"""The six groups of the plan, in its order, and what is in each."""

PREDICTORS: Sequence[str] = tuple(name for group in GROUPS.values() for name in group)

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Gradients of some rows: ``units`` [n, d] of length 1 (or 0), ``norms`` [n]."""

    units: Floats
    norms: Floats

    def take(self, rows: NDArray) -> Gradients:
        """Those of the rows at these positions, or under this mask."""
        return Gradients(self.units[rows], self.norms[rows])

    def sum(self) -> NDArray[np.float64]:
        """Sum of norm times unit over the rows [d]: each row weighs as much as it pulls."""
        return self.norms.astype(np.float64) @ self.units.astype(np.float64)


def conflict(selected: Floats, probe: Floats) -> float:
    """Minus the cosine of two summed gradients [d]: 1 where training undoes the skill.

    -<G_S, G_i> / (|G_S| |G_i|), G_S summed over the selected rows and G_i over the skill's; 0 where
    one of them is 0. Means have the same directions as sums.
    """
    return -float(_unit(selected) @ _unit(probe))


def row_conflicts(selected: Gradients, probe: Floats) -> tuple[float, float]:
    """Minus the mean cosine of selected rows to the skill's gradient [d], and the share below 0.

    -mean(c_s) and mean(c_s < 0) over the selected rows s, with c_s = <unit_s, G_i> / |G_i|. Rows
    count alike here, whatever their norms.
    """
    cosines = selected.units.astype(np.float64) @ _unit(probe)
    return -float(cosines.mean()), float((cosines < 0).mean())


def replay(selected: Sequence[Sequence[str]], skill: str) -> tuple[float, int]:
    """The skill's share of the rows selected last, and how many steps ago it last had any.

    ``selected``: of each step so far, the coming one last, the skill of every selected row. Steps
    ago: 0 where the coming step has one; where none ever had, as many as there are steps.
    """
    share = selected[-1].count(skill) / len(selected[-1])
    had = [number for number, skills in enumerate(selected) if skill in skills]
    return share, len(selected) - 1 - max(had, default=-1)


def push(selected: Floats) -> float:
    """Length |G_S| of the summed gradient [d] of the selected rows."""
    return float(np.linalg.norm(selected))


def path(rows: int, *, rate: float, epochs: float, rows_per_step: int) -> float:
    """Learning rate times optimiser steps: how far the weights could go at most."""
    return rate * math.ceil(math.ceil(rows / rows_per_step) * epochs)


def familiarity(now: Floats, then: Floats) -> tuple[float, float]:
    """Mean rise of log perplexity [n] of a skill's rows since it was learned, and its mean now.

    mean(now - then), mean(now); ``then`` is of the same rows, the first time that they were scored
    after the step that taught the skill.
    """
    return float(np.mean(now - then)), float(np.mean(now))


def _unit(vector: Floats) -> NDArray[np.float64]:
    wide = np.asarray(vector, dtype=np.float64)
    norm = np.linalg.norm(wide)
    return wide / norm if norm > 0 else wide
