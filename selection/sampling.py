"""Which rows of a cluster its budget goes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from selection.coverage import StratifiedSample, sample_coverage
from selection.pool import Positions, Scores

Sampling = Callable[[Scores, int, np.random.Generator], StratifiedSample]
"""Of scores [n], a budget and a generator: exactly min(budget, n) places."""


def sample_random(scores: Scores, budget: int, rng: np.random.Generator) -> StratifiedSample:
    """A uniform draw without replacement; that of a larger budget contains that of a smaller."""
    return _unstratified(np.argsort(rng.random(len(scores)), kind="stable")[:budget])


def sample_top(scores: Scores, budget: int, rng: np.random.Generator) -> StratifiedSample:
    """The rows of largest score; the earlier row wins a tie, non-finite rows come last."""
    return _unstratified(_ascending(-scores)[:budget])


def sample_bottom(scores: Scores, budget: int, rng: np.random.Generator) -> StratifiedSample:
    """The rows of smallest score; the earlier row wins a tie, non-finite rows come last."""
    return _unstratified(_ascending(scores)[:budget])


def sample_middle(scores: Scores, budget: int, rng: np.random.Generator) -> StratifiedSample:
    """The rows around the median score, non-finite rows last.

    Of m finite rows in ascending order (ties: pool order) b = min(budget, m) are taken from place
    floor((m - b) / 2) on.
    """
    order = _ascending(scores)
    finite = int(np.isfinite(scores).sum())
    start = max(0, finite - budget) // 2
    return _unstratified(order[start : start + budget])


SAMPLING: Mapping[str, Sampling] = {
    "coverage": sample_coverage,
    "random": sample_random,
    "top": sample_top,
    "bottom": sample_bottom,
    "middle": sample_middle,
}
"""The rules by name."""


def _ascending(scores: Scores) -> Positions:
    """Places in ascending order of score, non-finite ones last, ties in the given order."""
    return np.lexsort((np.where(np.isfinite(scores), scores, 0.0), ~np.isfinite(scores)))


def _unstratified(places: Positions) -> StratifiedSample:
    return StratifiedSample(np.sort(places), np.full(len(places), -1, dtype=np.int32))
