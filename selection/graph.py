"""D2 pruning: scores that spread over a graph of nearest neighbours."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection.choice import Choice, Request
from selection.clusterwise import features_of
from selection.pool import Matrix, Pool, Positions, Scores
from selection.scorer import scorer_order
from selection.unit import row_peaks, unit_rows

NEIGHBOURS = 10
GAMMA = 1.0
BLOCK_ROWS = 1024
COSINE_STEPS = 10**9
SHIFT = 32
NOTHING = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Undirected graph of n rows without loops, every edge listed from both its ends.

    The neighbours of row i, ascending, are ``neighbours[starts[i] : starts[i + 1]]``, at the
    squared distances ``squared`` of the same places.
    """

    starts: Positions
    neighbours: Positions
    squared: NDArray[np.float64]


def d2_pruning(pool: Pool, request: Request) -> Choice:
    """D2 pruning (arXiv 2310.07931): difficult rows, but few from any neighbourhood.

    The unit rows of the features are joined to their 10 nearest neighbours; difficulty s is the
    first score in the order of SCORES that the pool has. Messages go forward once and backward with
    every row taken: :func:`spread_scores` and :func:`take_rows`, gamma_f = gamma_r = 1.0. The
    released code takes 5 to 15 neighbours and gamma_r from 0.1 (CIFAR) to 1 (DataComp), and weighs
    by the distance where the paper, followed here, squares it. Clusters and seed are not used.

    A row without a finite score has the lowest of all, a row without a usable feature has no
    neighbours; both are counted in ``excluded`` and can be taken. Exactly min(budget, n) rows.
    O(n^2 d) for the exact graph, O(n q) memory; then O((n + B q) log n).

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
    taken = take_rows(graph, spread_scores(graph, difficulty(pool.scores[scorer])), request.budget)
    return Choice(
        indices=taken,
        scorer=[scorer] * len(taken),
        score=pool.scores[scorer][taken],
        excluded={reason: number for reason, number in reasons.items() if number},
    )


def nearest_neighbours(
    vectors: Matrix, neighbours: int = NEIGHBOURS, block_rows: int = BLOCK_ROWS
) -> Graph:
    """Rows of ``vectors`` [n, d] joined to their q nearest by cosine, exactly, or joined by them.

    |a - b|^2 = 2 - 2 cos(a, b) between unit rows; earlier rows win ties. Zero and non-finite rows
    have no neighbours. O(n^2 d) time; memory of two blocks, their cosines, and O(n q).
    """
    peaks = row_peaks(vectors)
    rows = np.flatnonzero(np.isfinite(peaks) & (peaks > 0))
    keys = np.full((len(rows), neighbours), NOTHING)
    for start in range(0, len(rows), block_rows):
        block = slice(start, start + block_rows)
        near = unit_rows(vectors, rows[block], np.float64)
        for other in range(0, len(rows), block_rows):
            far = unit_rows(vectors, rows[other : other + block_rows], np.float64)
            found = _keys(near @ far.T, other)
            if other == start:
                np.fill_diagonal(found, NOTHING)
            both = np.concatenate([keys[block], found], axis=1)
            keys[block] = np.partition(both, -neighbours, axis=1)[:, -neighbours:]
    return _graph(len(vectors), rows, keys)


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


def _keys(cosines: NDArray[np.float64], first: int) -> Positions:
    """One integer per cosine that no other column shares: larger is nearer, then earlier.

    Rounding to 9 decimals hides the number of BLAS threads.
    """
    steps = np.rint(cosines * COSINE_STEPS).astype(np.int64)
    return (steps << SHIFT) - np.arange(first, first + cosines.shape[1])


def _graph(n: int, rows: Positions, keys: Positions) -> Graph:
    """The graph of n rows from the keys [usable rows, q] of the nearest of each usable row."""
    places, slots = np.nonzero(keys != NOTHING)
    found = keys[places, slots]
    columns = -found & ((1 << SHIFT) - 1)
    steps = (found + columns) >> SHIFT
    ends = np.stack([rows[places], rows[columns]])
    pairs, first = np.unique(ends.min(axis=0) * n + ends.max(axis=0), return_index=True)
    squared = 2.0 - 2.0 * steps[first] / COSINE_STEPS
    low, high = pairs // max(n, 1), pairs % max(n, 1)
    owners, others = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((others, owners))
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))])
    return Graph(starts, others[order], np.tile(squared, 2)[order])
