"""A part of a benchmark's questions that stands for all, chosen by the base model's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptinf.evaluation.intervals import DRAWS_AT_ONCE, RESAMPLES, Interval

MOST_LEVELS = 10
"""Most distinct base scores that are a stratum each; of more there are bins."""

BINS = 5
LEAST = 2
"""Least units that are asked of a stratum: one would tell no spread."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Questions to ask, and what they stand for.

    ``places`` [n] are their positions among all ``total`` questions, ascending; ``units`` [n]
    number what is asked together, ``strata`` [n] the base model's levels. ``shares`` [H] is what
    part of all questions a stratum has, ``sizes`` [H] how many units.
    """

    places: np.ndarray
    units: np.ndarray
    strata: np.ndarray
    shares: np.ndarray
    sizes: np.ndarray
    total: int

    def estimate(self, scores: Sequence[float] | np.ndarray) -> float:
        """The mean of all questions, from the scores [n] of those asked.

        Means of the strata by the shares that these have among all questions (Cochran 1977,
        chapter 5), so that what the base model already got right weighs as much as it should.
        """
        sums = np.bincount(self.strata, weights=np.asarray(scores, dtype=np.float64))
        return float(self.shares @ (sums / np.bincount(self.strata)))

    def interval(self, scores: Sequence[float] | np.ndarray, seed: int) -> Interval:
        """The 95 % interval of the estimate: other questions, and others of them asked.

        A percentile bootstrap. How many units a stratum has is drawn as if the benchmark were, its
        asked units as often as were asked. Asked whole, it is the interval of all questions.
        """
        draw = np.random.default_rng(seed)
        units = self.sizes.sum()
        drawn = draw.multinomial(units, self.sizes / units, size=RESAMPLES)
        weights = drawn * (self.shares / self.sizes)
        values = np.asarray(scores, dtype=np.float64)
        each = [self._resampled(values, stratum, draw) for stratum in range(len(self.sizes))]
        means = np.stack(each, axis=1)
        low, high = np.quantile((weights * means).sum(axis=1) / weights.sum(axis=1), [0.025, 0.975])
        return Interval(float(low), float(high))

    def _resampled(self, scores: np.ndarray, stratum: int, draw: np.random.Generator) -> np.ndarray:
        """Means [resamples] of one stratum, its units drawn with replacement."""
        inside = self.strata == stratum
        _, unit = np.unique(self.units[inside], return_inverse=True)
        pairs = np.stack([np.bincount(unit, weights=scores[inside]), np.bincount(unit)], axis=1)
        distinct, counts = np.unique(pairs, axis=0, return_counts=True)
        block = max(1, DRAWS_AT_ONCE // len(distinct))
        sums = [
            draw.multinomial(len(pairs), counts / len(pairs), size=min(block, RESAMPLES - start))
            @ distinct
            for start in range(0, RESAMPLES, block)
        ]
        found: np.ndarray = np.concatenate(sums)
        return found[:, 0] / found[:, 1]


def choose_probe(
    scores: Sequence[float] | np.ndarray,
    groups: Sequence[str],
    wholes: Sequence[str],
    size: int,
    seed: int,
) -> Probe:
    """About ``size`` of all questions [N], by the base model's ``scores`` [N] of them.

    ``wholes`` [N] name what is asked together or not at all (a unit). The levels of the units' base
    scores are strata, each with its share of the units; within one, units are taken at equal
    distances (from a seeded start) where they stand in the order of ``groups`` [N] and scores, so
    that every group has its share too. So the asked ones have the mean of all questions exactly
    where shares are whole numbers, and the estimate has it where a stratum is a single score.
    """
    values = np.asarray(scores, dtype=np.float64)
    _, first, unit = np.unique(np.asarray(wholes), return_index=True, return_inverse=True)
    items = np.bincount(unit)
    means = np.bincount(unit, weights=values) / items
    count = min(len(items), max(LEAST, size * len(items) // len(values)))
    stratum = _levels(means, count)
    sizes = np.bincount(stratum)
    draw = np.random.default_rng(seed)
    _, group = np.unique(np.asarray(groups)[first], return_inverse=True)
    order = np.lexsort((draw.permutation(len(items)), means, group))
    chosen = np.zeros(len(items), dtype=bool)
    for one, asked in enumerate(_allotted(sizes, count).tolist()):
        inside = order[stratum[order] == one]
        distances = (np.arange(asked) + draw.random()) * len(inside) / asked
        chosen[inside[distances.astype(int)]] = True
    places = np.flatnonzero(chosen[unit])
    return Probe(
        places=places,
        units=unit[places],
        strata=stratum[unit[places]],
        shares=np.bincount(stratum, weights=items) / len(values),
        sizes=sizes,
        total=len(values),
    )


def _levels(means: np.ndarray, count: int) -> np.ndarray:
    """The stratum of each unit, by rising base score: its own, or the bin that this is in.

    Neighbours are joined until each has its share of ``count`` units with some to tell its spread:
    to ask more of a rare one than its share would leave less for the others.
    """
    distinct, level = np.unique(np.round(means, 9), return_inverse=True)
    if len(distinct) > MOST_LEVELS:
        ends = np.quantile(means, np.linspace(0, 1, BINS + 1)[1:-1])
        _, level = np.unique(np.searchsorted(ends, means), return_inverse=True)
    sizes = np.bincount(level)
    while len(sizes) > 1 and count * sizes.min() < LEAST * len(means):
        rare = int(np.argmin(sizes))
        left = rare and (rare == len(sizes) - 1 or sizes[rare - 1] <= sizes[rare + 1])
        level = level - (level > (rare - 1 if left else rare))
        sizes = np.bincount(level)
    return level


def _allotted(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many units of each stratum are asked: its share, by largest remainders."""
    shares = count * sizes / sizes.sum()
    asked = np.floor(shares).astype(int)
    rest = np.argsort(asked - shares, kind="stable")[: count - asked.sum()]
    asked[rest] += 1
    return asked
