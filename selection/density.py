"""Density-based pruning: wide, lonely clusters keep more, and each keeps its farthest rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selection.choice import Choice, Request
from selection.clusterwise import (
    Directions,
    centroid_cosines,
    centroid_directions,
    choose_by_cluster,
    cluster_features,
    cluster_shares,
    features_of,
)
from selection.kmeans import Clustering
from selection.pool import Matrix, Pool, Positions
from selection.unit import blocks, unit_rows

NEIGHBOURS = 20
TEMPERATURE = 0.1


def density_based_pruning(pool: Pool, request: Request) -> Choice:
    """Density-based pruning, DBP (Abbas et al. 2024, arXiv 2401.04578).

    Per cluster c of the features: d_intra = mean cosine distance of its rows to the centroid,
    d_inter = mean cosine distance of the centroid to its 20 nearest others (0 when it is the only
    one), C_c = d_inter d_intra, P_c = exp(C_c / tau) / sum exp(C / tau), tau = 0.1. The shares are
    the integers next to the N_c that minimise sum (N_c - B P_c)^2 within 0 <= N_c <= n_c and
    sum N_c = B. A cluster keeps the rows farthest from its centroid; older rows win ties. Rows
    without a usable feature get a water-filled share, drawn uniformly. Exactly min(budget, n) rows.
    O(n k d) for the clusters, then O(n d + k^2 d + n log n).
    """
    features = features_of(pool, "dbp")
    clustering = cluster_features(features, request)
    centroids = centroid_directions(features, clustering)
    distances = centroid_distances(features, clustering, centroids)

    def shares(total: int) -> Positions:
        spread = np.array([distance.mean() if len(distance) else 0.0 for distance in distances])
        weights = softmax(np.round(isolation(centroids) * spread, 9) / TEMPERATURE)
        return bounded_shares(total * weights, [len(distance) for distance in distances], total)

    def farthest(cluster: int, budget: int) -> Positions:
        return np.argsort(-distances[cluster], kind="stable")[:budget]

    return choose_by_cluster(
        clustering, cluster_shares(clustering, request.budget, shares), farthest, request.seed
    )


def centroid_distances(
    vectors: Matrix, clustering: Clustering, centroids: Directions
) -> list[NDArray[np.float64]]:
    """Per usable cluster the cosine distance, 0 to 2, of each row to the centroid [n_c]; O(n d)."""
    distances = []
    for centroid, rows in zip(centroids, clustering.members, strict=False):
        distance = np.empty(len(rows))
        for block in blocks(len(rows)):
            distance[block] = 1.0 - unit_rows(vectors, rows[block], np.float64) @ centroid
        distances.append(np.round(distance, 9))
    return distances


def isolation(centroids: Directions) -> NDArray[np.float64]:
    """Mean cosine distance of each centroid [k, d] to its 20 nearest others, 0 if it has none."""
    nearest = [np.sort(cosines)[-NEIGHBOURS:] for cosines in centroid_cosines(centroids)]
    return np.array([1.0 - cosines.mean() if len(cosines) else 0.0 for cosines in nearest])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares exp(x) / sum exp(x), without overflow."""
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def bounded_shares(targets: ArrayLike, sizes: ArrayLike, total: int) -> NDArray[np.int64]:
    """Integers within 0 and ``sizes`` [k] of sum min(total, sum of sizes), close to ``targets``.

    The minimum of sum (N_c - target_c)^2 under 0 <= N_c <= size_c and the sum is
    N_c = clip(target_c + m, 0, size_c), with one multiplier m, found by bisection. The N_c are cut
    to whole numbers, and the rows still missing go to the largest remainders, the earlier winning
    ties. O(k log k) and 100 passes over k.
    """
    aims, limits = np.asarray(targets, dtype=np.float64), np.asarray(sizes, dtype=np.int64)
    total = min(total, int(limits.sum()))
    low, high = float((-aims).min(initial=0)), float((limits - aims).max(initial=0))
    for _ in range(100):
        middle = (low + high) / 2
        if np.clip(aims + middle, 0, limits).sum() < total:
            low = middle
        else:
            high = middle
    # Rounded, so that whole numbers found by bisection are whole.
    ideal = np.round(np.clip(aims + high, 0, limits), 9)
    shares = np.floor(ideal).astype(np.int64)
    largest = np.argsort(shares - ideal, kind="stable")
    shares[largest[: total - int(shares.sum())]] += 1
    return shares
