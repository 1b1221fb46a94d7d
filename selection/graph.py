"""D2 pruning: scores that spread over a graph of nearest neighbours."""

from __future__ import annotations

import heapq

import numpy as np

from selection.choice import Choice, Request
from selection.clusterwise import features_of
from selection.neighbours import ALL_PAIRS, NEAR_CLUSTERS, Graph, nearest_neighbours
from selection.pool import Pool, Positions, Scores
from selection.scorer import scorer_order
from selection.unit import row_peaks

GAMMA = 1.0


def d2_pruning(pool: Pool, request: Request) -> Choice:
    """D2 pruning (arXiv 2310.07931): difficult rows, but few from any neighbourhood.

    The unit rows of the features are joined to their 10 nearest neighbours; difficulty s is the
    first score in the order of SCORES that the pool has. Messages go forward once and backward with
    every row taken: :func:`spread_scores` and :func:`take_rows`, gamma_f = gamma_r = 1.0. The
    released code takes 5 to 15 neighbours and gamma_r from 0.1 (CIFAR) to 1 (DataComp), and weighs
    by the distance where the paper, followed here, squares it. In a pool of more than 50,000 usable
    rows neighbours are looked for in near clusters only (:func:`nearest_neighbours`), which
    ``notes`` say; clusters and seed of the request are not used.

    A row without a finite score has the lowest of all, a row without a usable feature has no
    neighbours; both are counted in ``excluded`` and can be taken. Exactly min(budget, n) rows.
    O(n^2 d) for the exact graph, O(n sqrt(n) d) for the other, O(n q) memory; then
    O((n + B q) log n).

    Raises ValueError when the pool has no features or no scores.
    """
    features = features_of(pool, "d2")
    if not pool.scores:
        raise ValueError("d2 needs a score of every row (Pool.scores)")
    scorer = scorer_order(pool.scores)[0]
    peaks = row_peaks(features)
    reasons = {
        "zero-feature": int((peaks == 0).sum()),
        "non-finite-feature": int((~np.isfinite(peaks)).sum()),
        f"non-finite-score:{scorer}": int((~np.isfinite(pool.scores[scorer])).sum()),
    }
    graph = nearest_neighbours(features)
    usable = int((np.isfinite(peaks) & (peaks > 0)).sum())
    near = f"neighbours were looked for in the {NEAR_CLUSTERS} nearest clusters of each row"
    taken = take_rows(graph, spread_scores(graph, difficulty(pool.scores[scorer])), request.budget)
    return Choice(
        indices=taken,
        scorer=[scorer] * len(taken),
        score=pool.scores[scorer][taken],
        excluded={reason: number for reason, number in reasons.items() if number},
        notes=[near] if usable > ALL_PAIRS else [],
    )


def spread_scores(graph: Graph, scores: Scores, gamma: float = GAMMA) -> Scores:
    """Forward messages: s'_i = s_i + sum over neighbours j of exp(-gamma d_ij^2) s_j; O(n q)."""
    owners = np.repeat(np.arange(len(scores)), np.diff(graph.starts))
    messages = np.exp(-gamma * graph.squared) * scores[graph.neighbours]
    return scores + np.bincount(owners, messages, minlength=len(scores))


def take_rows(graph: Graph, scores: Scores, budget: int, gamma: float = GAMMA) -> Positions:
    """The min(budget, n) rows of largest score, one by one, each lowering its neighbours.

    When row k is taken, s'_j -= exp(-gamma d_kj^2) s'_k for all neighbours j; the earlier row wins
    a tie. Every change of a score leaves a new entry in the heap, and entries that no longer hold
    are skipped when they come up: O((n + B q) log n).
    """
    current = scores.tolist()
    weights = np.exp(-gamma * graph.squared)
    heap = [(-score, row) for row, score in enumerate(current)]
    heapq.heapify(heap)
    free = [True] * len(current)
    taken: list[int] = []
    while len(taken) < min(budget, len(current)):
        score, row = heapq.heappop(heap)
        if not free[row] or -score != current[row]:
            continue
        free[row] = False
        taken.append(row)
        edges = slice(graph.starts[row], graph.starts[row + 1])
        neighbours, shares = graph.neighbours[edges].tolist(), weights[edges].tolist()
        for neighbour, share in zip(neighbours, shares, strict=True):
            if free[neighbour]:
                current[neighbour] -= share * current[row]
                heapq.heappush(heap, (-current[neighbour], neighbour))
    return np.array(taken, dtype=np.int64)


def difficulty(scores: Scores) -> Scores:
    """Scores divided by their largest magnitude, the lowest one where there is none.

    D2 is linear in the scores, so that the unit decides nothing; sums of very large ones would
    leave the float range.
    """
    finite = scores[np.isfinite(scores)]
    filled = np.where(np.isfinite(scores), scores, finite.min(initial=np.inf) if len(finite) else 0)
    peak = np.abs(filled).max(initial=0)
    return np.asarray(filled / peak) if peak > 0 else filled
