"""Whether a run has forgotten more than it may: what each benchmark lost, item by item."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from adaptinf.errors import UserError
from adaptinf.evaluation.answered import columns_between, read_matrix, step_scores
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.evaluation.matrix import AccuracyMatrix

ERROR = 0.05
"""Chance that a run which lost just the tolerance everywhere is stopped for any benchmark."""

POWER = 0.8
RESAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Loss:
    """What a benchmark lost from step ``before`` to the last one, in points of its ``items``.

    Before is the step that taught it, or the base model where none did. ``low`` is the least that
    it lost, at the level of the gate. ``visible`` is the loss that a benchmark of so many items, as
    different from item to item as these, shows four times in five. ``of`` is how many items there
    are: more than ``items`` where only a probe was asked before.
    """

    benchmark: str
    skill: str
    before: str
    after: str
    items: int
    of: int
    lost: float
    low: float
    visible: float

    def is_beyond(self, tolerance: float) -> bool:
        """Whether it has lost more than ``tolerance`` points, and not by chance."""
        return self.low > tolerance


def losses(run: Path, tolerance: float) -> list[Loss]:
    """The loss of every benchmark that has a step after the one it is compared with.

    The same questions are compared before and after; where a step was asked a probe, those of the
    probe. The level of the intervals is shared among the benchmarks (Bonferroni), so that many of
    them do not raise the chance of a false alarm.

    Raises:
        UserError: no matrix, or answers that are not to the same questions.
    """
    matrix = read_matrix(run)
    last = len(matrix.steps) - 1
    pairs = [
        (column, column.learned_at or 0)
        for column in columns_between(run, matrix, [0, last])
        if (column.learned_at or 0) < last
    ]
    found = []
    for column, step in pairs:
        lost = _lost(run, matrix, column.name, step)
        found.append(
            Loss(
                benchmark=column.name,
                skill=column.skill,
                before=matrix.steps[step],
                after=matrix.steps[last],
                items=len(lost),
                of=column.n,
                lost=float(lost.mean()),
                low=least_loss(lost, len(pairs)),
                visible=tolerance + visible_loss(lost, len(pairs)),
            )
        )
    return found


def _lost(run: Path, matrix: AccuracyMatrix, name: str, step: int) -> np.ndarray:
    """What each question [items] of a benchmark lost from a step to the last one, in points."""
    last = len(matrix.steps) - 1
    before, after = (step_scores(run, matrix.steps, number, name) for number in (step, last))
    both = before.keys() & after.keys()
    own = [place for place, column in enumerate(matrix.benchmarks) if column.name == name]
    probed = matrix.probed[np.ix_([step, last], own)].any()
    if not both or (before.keys() != after.keys() and not probed):
        raise UserError(
            "the answers before and after are not to the same questions",
            where=name,
            hint="evaluate both steps with the same evaluate.limit and question files",
        )
    return np.array([before[ident] - after[ident] for ident in before if ident in both])


def least_loss(lost: np.ndarray, comparisons: int = 1) -> float:
    """What was lost at least [items, points], at the gate's level shared by so many comparisons."""
    level = 1 - 2 * ERROR / comparisons
    return bootstrap_interval(lost, seed=0, level=level, resamples=RESAMPLES).low


def visible_loss(lost: np.ndarray, comparisons: int = 1) -> float:
    """How far beyond the tolerance a loss must be to be seen four times in five, in points.

    By the normal approximation, from the spread of the differences [items] themselves.
    """
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf
    quantile = NormalDist().inv_cdf
    return (quantile(1 - ERROR / comparisons) + quantile(POWER)) * error
