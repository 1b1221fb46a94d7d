"""How far a mean of scores may lie from the one that other items would have given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 2_000
DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of an interval, in the unit of the values that it came from."""

    low: float
    high: float


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    seed: int,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values`` [n], of 95 % unless said otherwise.

    The mean of a resample depends only on how often each distinct value was drawn, so that one
    multinomial draw over the distinct values stands for n draws of items (Efron & Tibshirani 1993,
    chapter 13). The same values, in any order, and seed give the same interval.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    means = resampled_means(values, seed, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def share_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's interval of a share (Wilson 1927), which has a width where all or none are hits.

    Raises:
        ValueError: no items.
    """
    if n < 1:
        raise ValueError("a share needs at least one item")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, room = hits / n, z**2 / n
    middle = (share + room / 2) / (1 + room)
    width = z * math.sqrt(share * (1 - share) / n + room / (4 * n)) / (1 + room)
    return Interval(max(0.0, middle - width), min(1.0, middle + width))


def resampled_means(
    values: Sequence[float] | np.ndarray, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Means [resamples] of as many draws of all ``values`` [n] with replacement.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    items = np.asarray(values, dtype=np.float64)
    if items.ndim != 1 or items.size == 0 or not np.isfinite(items).all():
        raise ValueError("an interval needs a list of at least one finite value")
    distinct, counts = np.unique(items, return_counts=True)
    rng = np.random.default_rng(seed)
    block = max(1, DRAWS_AT_ONCE // distinct.size)
    draws = (
        rng.multinomial(items.size, counts / items.size, size=min(block, resamples - start))
        for start in range(0, resamples, block)
    )
    means: np.ndarray = np.concatenate([drawn @ distinct for drawn in draws]) / items.size
    return means
