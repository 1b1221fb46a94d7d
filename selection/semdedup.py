"""SemDeDup: near-duplicates go, by a threshold or down to a budget."""

from __future__ import annotations

import numpy as np

from selection.budget import water_fill
from selection.choice import Choice, Request
from selection.clusterwise import choose_by_cluster, cluster_features, features_of
from selection.pool import Matrix, Pool, Positions
from selection.redundancy import BLOCK_ROWS, greedy_duplicates, redundancy
from selection.unit import row_peaks

RULES = ("semdedup", "greedy")


def semdedup(pool: Pool, request: Request) -> Choice:
    """SemDeDup (arXiv 2303.09540) to a budget instead of a threshold.

    Rows are clustered by feature, clusters share the budget by water filling, and each keeps its
    rows of smallest M_j = max over earlier rows i of its cluster of cos(i, j). Where the paper
    orders a cluster by distance to the centroid, pool order decides here: older rows win. Rows
    without a usable feature form one cluster more, drawn from uniformly. Exactly min(budget, n)
    rows. O(n k d) for the clusters, O(d sum n_c^2) for the cosines; memory of two blocks of rows.
    """
    features = features_of(pool, "semdedup")
    clustering = cluster_features(features, request)
    shares = water_fill([len(rows) for rows in clustering.members], request.budget)

    def least_redundant(cluster: int, budget: int) -> Positions:
        return redundancy(features, clustering.members[cluster], budget).keep(budget)

    return choose_by_cluster(clustering, shares, least_redundant, request.seed)


def duplicates(
    vectors: Matrix, threshold: float, rule: str = "semdedup", block_rows: int = BLOCK_ROWS
) -> Positions:
    """Ascending positions of the rows of ``vectors`` [n, d] that a cosine threshold removes.

    Earlier rows win. ``rule="semdedup"``: row j goes if and only if its cosine to any earlier row
    exceeds the threshold, even if that row goes itself (arXiv 2303.09540). ``rule="greedy"``: only
    rows that stay remove others, so that every removed row has a close kept one and no two kept
    rows are close. Zero and non-finite rows have no cosine: they stay and remove nothing.

    O(n^2 d) time, memory of two blocks of rows and their cosines. Cosines are taken in float64 and
    rounded to 9 decimals, whatever the type of the vectors, so that neither block size nor threads
    change a decision; exact copies have exactly 1, which a threshold of 1 does not remove.

    Raises ValueError for an unknown rule or a threshold outside [-1, 1].
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)} (seen: {rule!r})")
    if not -1.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be a cosine, -1 to 1 (seen: {threshold!r})")
    peaks = row_peaks(vectors)
    rows = np.flatnonzero(np.isfinite(peaks) & (peaks > 0))
    if rule == "greedy":
        return rows[greedy_duplicates(vectors, rows, threshold, block_rows)]
    return rows[redundancy(vectors, rows, block_rows=block_rows).similarity > threshold]
