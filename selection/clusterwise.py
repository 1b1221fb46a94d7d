"""What the methods share that spend a budget cluster by cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from selection.budget import water_fill
from selection.choice import Choice, ClusterReport, Request
from selection.kmeans import Clustering, cluster_rows
from selection.pool import Matrix, Pool, Positions
from selection.seeds import generator
from selection.unit import blocks, unit_rows

Directions = NDArray[np.float64]
Keep = Callable[[int, int], Positions]
"""Of a cluster's number and its budget: the distinct places, within the cluster, that stay."""

CENTROID_BLOCK = 1024


def features_of(pool: Pool, method: str) -> Matrix:
    """The features of the pool; ValueError naming the method when there are none."""
    if pool.features is None:
        raise ValueError(f"{method} needs features (Pool.features)")
    return pool.features


def cluster_features(features: Matrix, request: Request) -> Clustering:
    """The clusters that the request asks for, around its own centroids if it has some."""
    return cluster_rows(features, request.budget, request.clusters, request.seed, request.centroids)


def cluster_shares(
    clustering: Clustering, budget: int, rule: Callable[[int], Positions]
) -> Positions:
    """Rows that each cluster gives; the sum is exactly min(budget, n).

    The cluster of unusable rows, of which no formula can tell anything, gets what water filling
    over all clusters gives it. The others share the rest r as ``rule(r)`` says: integers within
    their sizes whose sum is r.
    """
    shares = water_fill([len(rows) for rows in clustering.members], budget)
    usable = slice(clustering.unusable)
    if len(shares[usable]):
        shares[usable] = rule(int(shares[usable].sum()))
    return shares


def choose_by_cluster(clustering: Clustering, shares: Positions, keep: Keep, seed: int) -> Choice:
    """The rows that ``keep`` names in every cluster; unusable rows are drawn uniformly.

    ``keep`` is only asked where there is a choice: for budgets above 0 and below the size.
    """
    parts = [np.empty(0, dtype=np.int64)]
    for cluster, rows in enumerate(clustering.members):
        budget = int(shares[cluster])
        if budget in (0, len(rows)):
            places = np.arange(budget)
        elif cluster == clustering.unusable:
            places = generator(seed, "unusable").permutation(len(rows))[:budget]
        else:
            places = keep(cluster, budget)
        parts.append(rows[places])
    return Choice(
        indices=np.concatenate(parts),
        cluster=np.repeat(np.arange(len(shares), dtype=np.int32), shares),
        clusters=[
            ClusterReport(cluster, len(rows), int(shares[cluster]), None, {})
            for cluster, rows in enumerate(clustering.members)
        ],
        excluded=clustering.excluded,
        centroids=clustering.centroids,
        curve=clustering.curve,
    )


def centroid_directions(vectors: Matrix, clustering: Clustering) -> Directions:
    """Mean of the unit rows of each usable cluster, with L2 norm 1 [k, d]; O(n d).

    A mean without a direction (rows that cancel out) stays zero: its cosine to any row is 0. An
    empty cluster has the centroid that it was given.
    """
    members = clustering.members[: clustering.unusable]
    means = np.zeros((len(members), vectors.shape[1]))
    for mean, rows, given in zip(means, members, clustering.centroids, strict=True):
        if not len(rows):
            mean += given
        for block in blocks(len(rows)):
            mean += unit_rows(vectors, rows[block], np.float64).sum(axis=0) / len(rows)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    means /= np.where(norms > 1e-9, norms, np.inf)
    return means


def centroid_cosines(centroids: Directions) -> Iterator[NDArray[np.float64]]:
    """Of each centroid in turn the cosines to all others [k - 1]; O(k^2 d)."""
    for start in range(0, len(centroids), CENTROID_BLOCK):
        # Rounded, because the last bits hang on the number of BLAS threads.
        cosines = np.round(centroids[start : start + CENTROID_BLOCK] @ centroids.T, 9)
        for place, row in enumerate(cosines, start):
            yield np.delete(row, place)
