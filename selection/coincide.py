"""COINCIDE: clusters share by transferability and density, each keeps what resembles it most."""

from __future__ import annotations

import math

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
from selection.pool import Matrix, Pool, Positions
from selection.unit import unit_rows

TEMPERATURE = 0.1
SAME_SKILL = 0.9
"""Centroids of a larger cosine are one skill, and tell nothing about transfer to another."""

BLOCK_ROWS = 1024


def coincide(pool: Pool, request: Request) -> Choice:
    """COINCIDE (arXiv 2406.10995): diverse, transferable rows from spherical clusters.

    Per cluster c of the features: transferability S_c (:func:`transferability`), density
    D_c = mean over a, b in c of exp(-|a - b|^2 / 2), a = b included, between unit rows, and
    P_c = softmax(S_c / (tau D_c)), tau = 0.1. Budgets are :func:`sequential_shares`, the rows of
    a cluster :func:`matching_rows`. Rows without a usable feature get a water-filled share, drawn
    uniformly. Exactly min(budget, n) rows. Unlike the paper, which compares clusters by the text
    half of its features, all of a feature is used.

    O(n k d) for the clusters, O(d sum n_c^2) for density and O(d sum n_c N_c) for the rows; one
    cluster at a time is in memory, in float64.
    """
    features = features_of(pool, "coincide")
    clustering = cluster_features(features, request)
    usable = clustering.members[: clustering.unusable]
    similarity = [mean_kernel(features, rows) for rows in usable]

    def shares(total: int) -> Positions:
        density = np.array([mean.mean() if len(mean) else 1.0 for mean in similarity])
        transfer = transferability(centroid_directions(features, clustering))
        logits = np.round(transfer / (TEMPERATURE * density), 9)
        return sequential_shares(logits, [len(rows) for rows in usable], total)

    def matching(cluster: int, budget: int) -> Positions:
        return matching_rows(features, usable[cluster], similarity[cluster], budget)

    return choose_by_cluster(
        clustering, cluster_shares(clustering, request.budget, shares), matching, request.seed
    )


def transferability(centroids: Directions) -> NDArray[np.float64]:
    """Mean cosine of each centroid [k, d] to the others, those above 0.9 left out; 0 if all are."""
    others = [cosines[cosines <= SAME_SKILL] for cosines in centroid_cosines(centroids)]
    return np.array([cosines.mean() if len(cosines) else 0.0 for cosines in others])


def sequential_shares(logits: ArrayLike, sizes: ArrayLike, total: int) -> NDArray[np.int64]:
    """Integers within ``sizes`` [k] of sum min(total, sum of sizes), by a softmax that moves on.

    From the largest logit down, a cluster takes rest * p to the nearest whole number (halves up),
    at most its size, where p is its softmax among itself and those still to come. What the caps
    leave over goes to the clusters with room in the same order. The earlier wins ties. O(k log k).
    """
    values, limits = np.asarray(logits, dtype=np.float64), np.asarray(sizes, dtype=np.int64)
    shares = np.zeros(len(limits), dtype=np.int64)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    portions = np.exp(ranked - np.logaddexp.accumulate(ranked[::-1])[::-1])
    rest = total
    for place, portion in zip(order, portions, strict=True):
        # Rounded to 9 decimals first, so that the last bits do not decide on halves.
        wanted = math.floor(round(rest * float(portion), 9) + 0.5)
        shares[place] = min(int(limits[place]), wanted)
        rest -= int(shares[place])
    for place in order:
        extra = min(int(limits[place] - shares[place]), rest)
        shares[place] += extra
        rest -= extra
    return shares


def mean_kernel(
    vectors: Matrix, rows: Positions, block_rows: int = BLOCK_ROWS
) -> NDArray[np.float64]:
    """Mean of exp(-|a - b|^2 / 2) over all given rows b, for each given row a [n]; O(n^2 d)."""
    units = unit_rows(vectors, rows, np.float64)
    means = np.empty(len(rows))
    for start in range(0, len(rows), block_rows):
        block = slice(start, start + block_rows)
        means[block] = _kernel(units[block], units).mean(axis=1)
    return means


def matching_rows(
    vectors: Matrix, rows: Positions, similarity: NDArray[np.float64], budget: int
) -> Positions:
    """Places of ``budget`` of the given rows whose spread matches that of all, in order of choice.

    Each next row x is the one that makes the squared maximum mean discrepancy between chosen rows
    and all rows smallest: mean K(S + x, S + x) - 2 mean K(all, S + x), with
    K(a, b) = exp(-|a - b|^2 / 2) between unit rows. As K(x, x) = 1, that is the x of smallest
    b_x / |S + x| - a_x, with b_x the sum of K(s, x) over the chosen s and a_x the mean of K over
    all rows (``similarity``). The earlier wins a tie. The sums run on from one choice to the next:
    O(n d) for each.
    """
    units = unit_rows(vectors, rows, np.float64)
    sums = np.zeros(len(rows))
    chosen = np.empty(budget, dtype=np.int64)
    for count in range(budget):
        objective = np.round(sums / (count + 1) - similarity, 9)
        objective[chosen[:count]] = np.inf
        chosen[count] = objective.argmin()
        sums += _kernel(units[chosen[count]][None], units)[0]
    return chosen


def _kernel(some: NDArray[np.float64], units: NDArray[np.float64]) -> NDArray[np.float64]:
    # |a - b|^2 / 2 = 1 - cos(a, b); rounded, because the last bits hang on the number of threads.
    kernel: NDArray[np.float64] = np.exp(np.round(some @ units.T, 9) - 1.0)
    return kernel
