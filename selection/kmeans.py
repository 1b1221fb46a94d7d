"""Pseudo-skills: seeded spherical k-means over features that may be larger than memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selection.budget import cluster_count
from selection.centroids import Centroids, checked_centroids, nearest_centroids
from selection.curve import RULES, Curve, count_curve
from selection.lloyd import TRAIN_ROWS_PER_CLUSTER, train_centroids
from selection.pool import Matrix, Positions
from selection.seeds import generator
from selection.unit import blocks, row_peaks, unit_rows


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """A partition of all rows: ``members[c]`` are the ascending positions of cluster c.

    ``unusable`` is the number of the one cluster, the last, of rows that no direction can be read
    from, None when there are none; ``excluded`` counts those rows by reason. ``centroids`` [k, d]
    are the unit vectors of the other clusters, in the same order. ``curve`` tells how their number
    was found, None when no rule was asked.
    """

    members: Sequence[Positions]
    unusable: int | None
    excluded: Mapping[str, int]
    centroids: Centroids
    curve: Curve | None = None


def cluster_rows(
    features: Matrix,
    budget: int,
    clusters: int | str,
    seed: int,
    centroids: Matrix | None = None,
) -> Clustering:
    """Clusters of the rows by cosine; none is empty, and unusable rows form one more.

    ``clusters`` is their number, "auto" for round(sqrt(budget)), or a rule that
    :func:`selection.curve.count_curve` finds it by.
    Centroids are learnt by FAISS, from a k-means++ start, on a seeded sample of at most 256 rows
    per cluster; then every row is assigned to its nearest centroid, block by block. The outcome
    depends on features, number of clusters and seed, not on the number of threads.

    Given ``centroids`` [k, d] are used as they are instead, and keep their numbers: cluster c may
    then be empty.
    """
    peaks = row_peaks(features)
    has_direction = np.isfinite(peaks) & (peaks > 0)
    usable, rest = np.flatnonzero(has_direction), np.flatnonzero(~has_direction)
    curve = None
    if centroids is None:
        count = cluster_count(clusters, budget, len(usable))
        if isinstance(clusters, str) and clusters in RULES:
            curve = count_curve(features, usable, clusters, budget, seed)
            count = curve.chosen
        units = _learn(features, usable, count, seed)
    else:
        units = checked_centroids(centroids, features.shape[1])
    labels = nearest_centroids(features, usable, units).labels
    if centroids is None:
        units = units[np.unique(labels)]
        labels = np.unique(labels, return_inverse=True)[1]
    members = _split(usable, labels, len(units))
    reasons = {
        "zero-feature": int((peaks == 0).sum()),
        "non-finite-feature": int((~np.isfinite(peaks)).sum()),
    }
    return Clustering(
        members=[*members, rest] if len(rest) else members,
        unusable=len(members) if len(rest) else None,
        excluded={reason: number for reason, number in reasons.items() if number},
        centroids=units,
        curve=curve,
    )


def _learn(features: Matrix, usable: Positions, count: int, seed: int) -> Centroids:
    """Unit centroids [count, d] of the usable rows, none when there are no such rows."""
    if not len(usable):
        return np.empty((0, features.shape[1]), dtype=np.float32)
    if count == 1:
        return _mean_direction(features, usable)
    rng = generator(seed, "kmeans")
    faiss_seed = int(rng.integers(2**31))
    sample = usable
    if len(usable) > TRAIN_ROWS_PER_CLUSTER * count:
        sample = np.sort(rng.permutation(usable)[: TRAIN_ROWS_PER_CLUSTER * count])
    return train_centroids(unit_rows(features, sample), count, faiss_seed)


def _mean_direction(features: Matrix, usable: Positions) -> Centroids:
    """Unit vector [1, d] of the sum of the unit rows; zero when they cancel out."""
    total = np.zeros((1, features.shape[1]))
    for block in blocks(len(usable)):
        total += unit_rows(features, usable[block], np.float64).sum(axis=0)
    norm = np.linalg.norm(total) / len(usable)
    # Below this only rounding is left of the sum.
    return (total / (norm * len(usable)) if norm > 1e-9 else 0 * total).astype(np.float32)


def _split(positions: Positions, labels: Positions, count: int) -> list[Positions]:
    """Positions grouped by label 0..count-1, order kept."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=count))[:-1]
    return np.split(positions[order], ends) if count else []
