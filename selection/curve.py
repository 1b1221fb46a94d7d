"""How many clusters the rows fall into, by a rule, and the curve that it looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selection.budget import cluster_count
from selection.centroids import Centroids, nearest_centroids
from selection.lloyd import train_centroids
from selection.pool import Matrix, Positions
from selection.seeds import generator
from selection.unit import unit_rows
from selection.words import check_word

CURVE_ROWS = 20_000
SILHOUETTE_ROWS = 2_000
FINEST, COARSEST = 2, -8
"""Half octaves from the square root of the budget to the most and the fewest clusters tried."""

SHALLOWEST = 0.1
"""An elbow less deep is none. Deepest points of rows without clusters lay 0.00 to 0.06 below the
chord (64 and 256 dimensions), those of 6 to 10 planted skills mostly 0.14 to 0.47 (measured)."""

Quality = Callable[[Centroids], float | None]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What the quality is with so many clusters."""

    clusters: int
    value: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The quality, a ``distance`` or a ``silhouette``, by number of clusters, ascending.

    ``chosen`` is the number that the rule takes, ``rows`` how many rows the quality was taken over.
    """

    rule: str
    rows: int
    chosen: int
    points: Sequence[CurvePoint]

    def described(self) -> dict[str, Any]:
        """The curve as a summary shows it, JSON-able."""
        name = "distance" if self.rule == "elbow" else self.rule
        points = [{"clusters": point.clusters, name: point.value} for point in self.points]
        return {"rule": self.rule, "rows": self.rows, "chosen": self.chosen, "points": points}


def count_curve(features: Matrix, usable: Positions, rule: str, budget: int, seed: int) -> Curve:
    """The number of clusters of the ``usable`` rows of ``features`` [n, d], by a rule.

    Spherical k-means is trained with each number of :func:`cluster_numbers` on one seeded sample of
    at most 20,000 rows. "elbow": the quality is the within-cluster distance, 1 - mean cosine of
    the sample's rows to their centroid, and :func:`elbow` chooses. "silhouette": the mean
    silhouette by cosine distance (Rousseeuw 1987) of at most 2,000 of these rows; the largest wins,
    the smaller number a tie. Where the curve tells nothing (no elbow, fewer than four rows, all
    rows alike) the number is that of "auto". Values are rounded to 9 decimals.

    O(m k d) for m sampled rows and all k tried, about 7 sqrt(budget) in sum, and 4 m d bytes.
    Raises ValueError for an unknown rule.
    """
    check_word("rule", rule, tuple(RULES))
    rng = generator(seed, "k-curve")
    sample = np.sort(rng.permutation(usable)[:CURVE_ROWS])
    units = np.empty((0, features.shape[1]), dtype=np.float32)
    if len(sample):
        units = unit_rows(features, sample)
    faiss_seed = int(rng.integers(2**31))
    parts = RULES[rule]
    measured = units[np.sort(rng.permutation(len(units))[: parts.rows])]
    quality = parts.quality(measured)
    points = []
    for count in cluster_numbers(budget, len(units)):
        value = quality(train_centroids(units, count, faiss_seed))
        if value is not None:
            points.append(CurvePoint(count, round(value, 9)))
    chosen = parts.choose(points) or cluster_count("auto", budget, len(usable))
    return Curve(rule, len(measured), chosen, points)


def cluster_numbers(budget: int, rows: int) -> list[int]:
    """Numbers tried: round(sqrt(budget) 2^(j/2)) for j = -8 .. 2, from 2 up to half the rows.

    Far below the square root because the paper's code takes 10 clusters for 25,000 rows, and small
    numbers cost little; hardly above, because the largest costs most.
    """
    steps = range(COARSEST, FINEST + 1)
    tried = {round(math.sqrt(budget) * 2 ** (step / 2)) for step in steps}
    return sorted(count for count in tried if 2 <= count <= rows // 2)


def elbow(points: Sequence[CurvePoint]) -> int | None:
    """The number of clusters at the point farthest below the chord; None if less than 0.1 below.

    With x = log k and y the distance, both scaled so that the chord runs from (0, 1) at the first
    point to (1, 0) at the last, a point lies 1 - x - y below it ("kneedle", Satopaa et al. 2011).
    The smaller number wins a tie. The axis is log k because rows without clusters give a distance
    that falls about evenly with log k, a curve without an elbow; over k itself the same curve has
    one, which lies wherever the range begins.
    """
    if len(points) < 3 or points[0].value <= points[-1].value:
        return None
    places = np.log([point.clusters for point in points])
    values = np.array([point.value for point in points])
    x = (places - places[0]) / (places[-1] - places[0])
    y = (values - values[-1]) / (values[0] - values[-1])
    below = np.round(1.0 - x - y, 9)
    lowest = int(below.argmax())
    return points[lowest].clusters if below[lowest] >= SHALLOWEST else None


def _highest(points: Sequence[CurvePoint]) -> int | None:
    """The number of clusters of largest value, the smaller of equal ones; None without points."""
    best = max(points, key=lambda point: point.value, default=None)
    return None if best is None else best.clusters


def _distance(units: Centroids) -> Quality:
    """1 - mean cosine of the rows to their nearest centroid."""

    def quality(centroids: Centroids) -> float:
        nearest = centroids[_labels(units, centroids)]
        # In float64 and without BLAS, so that threads do not show.
        return float(1.0 - np.einsum("ij,ij->i", units, nearest, dtype=np.float64).mean())

    return quality


def _silhouette(units: Centroids) -> Quality:
    """Mean silhouette of the rows; None unless they lie in two clusters or more."""
    from sklearn.metrics import silhouette_score
    from sklearn.metrics.pairwise import cosine_distances

    distances = cosine_distances(units.astype(np.float64)) if len(units) else None

    def quality(centroids: Centroids) -> float | None:
        labels = _labels(units, centroids)
        if not 1 < len(np.unique(labels)) < len(labels):
            return None
        return float(silhouette_score(distances, labels, metric="precomputed"))

    return quality


def _labels(units: Centroids, centroids: Centroids) -> Positions:
    """Number of the nearest centroid of each row."""
    return nearest_centroids(units, np.arange(len(units)), centroids).labels


@dataclass(frozen=True, slots=True)
class _Rule:
    """Most rows that a quality is taken over, the quality, and the choice by its curve."""

    rows: int
    quality: Callable[[Centroids], Quality]
    choose: Callable[[Sequence[CurvePoint]], int | None]


RULES: Mapping[str, _Rule] = {
    "elbow": _Rule(CURVE_ROWS, _distance, elbow),
    "silhouette": _Rule(SILHOUETTE_ROWS, _silhouette, _highest),
}
"""How to choose a number of clusters, by name."""
