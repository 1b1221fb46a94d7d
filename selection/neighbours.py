"""The graph of nearest neighbours: of all rows, or in a large pool of those in near clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from selection.cosine import DECIMALS, Units, doubt, exact_cosines, pair_cosines
from selection.kmeans import cluster_rows
from selection.pool import Matrix, Positions
from selection.unit import row_peaks, unit_rows

NEIGHBOURS = 10
ALL_PAIRS = 50_000
"""Up to so many rows all pairs are compared; the time grows with the square."""

NEAR_CLUSTERS = 8
BLOCK_ROWS = 4096
FAR_ROWS = 32_768
SPARE = 6
"""Candidates beyond those wanted, so that a float32 product need not have them in order."""

STEPS = 10**DECIMALS
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


def nearest_neighbours(
    vectors: Matrix,
    neighbours: int = NEIGHBOURS,
    *,
    all_pairs: int = ALL_PAIRS,
    seed: int = 0,
    block_rows: int = BLOCK_ROWS,
) -> Graph:
    """Rows of ``vectors`` [n, d] joined to their q nearest by cosine, or joined by them.

    |a - b|^2 = 2 - 2 cos(a, b) between unit rows; earlier rows win ties. Zero and non-finite rows
    have no neighbours. Exact up to ``all_pairs`` rows, in O(n^2 d). Beyond, a row is compared with
    the rows of the 8 clusters whose centroids are nearest to its own, of sqrt(n) clusters:
    O(n sqrt(n) d), and exact among those. Memory of a few blocks of rows, and O(n q).
    """
    peaks = row_peaks(vectors)
    rows = np.flatnonzero(np.isfinite(peaks) & (peaks > 0))
    keys = np.full((len(rows), neighbours), NOTHING)
    for near, far in _comparisons(vectors, rows, all_pairs, seed):
        for start in range(0, len(near), block_rows):
            places = near[start : start + block_rows]
            units = unit_rows(vectors, rows[places])
            for first in range(0, len(far), FAR_ROWS):
                others = far[first : first + FAR_ROWS]
                found = _best(units, places, unit_rows(vectors, rows[others]), others, neighbours)
                both = np.concatenate([keys[places], found], axis=1)
                keys[places] = np.partition(both, -neighbours, axis=1)[:, -neighbours:]
    return _graph(len(vectors), rows, keys)


def _comparisons(
    vectors: Matrix, rows: Positions, all_pairs: int, seed: int
) -> Sequence[tuple[Positions, Positions]]:
    """Places of rows, and the places that these are compared with, both ascending."""
    everything = np.arange(len(rows))
    if len(rows) <= all_pairs:
        return [(everything, everything)]
    count = round(len(rows) ** 0.5)
    clustering = cluster_rows(vectors, len(vectors), count, seed)
    members = clustering.members[: clustering.unusable]
    within = [np.searchsorted(rows, positions) for positions in members]
    cosines = exact_cosines(clustering.centroids, clustering.centroids)
    near = np.argsort(-cosines, axis=1, kind="stable")[:, :NEAR_CLUSTERS]
    return [
        (own, np.sort(np.concatenate([within[cluster] for cluster in nearest])))
        for own, nearest in zip(within, near, strict=True)
    ]


def _best(
    units: Units, places: Positions, others: Units, far: Positions, neighbours: int
) -> Positions:
    """Keys [n, at most q] of the q nearest of ``others`` [m, d], at the places ``far``, exactly."""
    # One more than wanted: a row may find itself.
    count = min(neighbours + 1 + SPARE, len(others))
    rough, found = faiss.knn(units, others, count, metric=faiss.METRIC_INNER_PRODUCT)
    exact = np.stack([pair_cosines(units, others[column]) for column in found.T], axis=1)
    keys = _keys(exact, far[found], places)
    wanted = min(neighbours, count)
    kept = np.partition(keys, -wanted, axis=1)[:, -wanted:]
    # What was left out is at most the last of the rough ones, and the doubt.
    lowest = _cosines(kept.min(axis=1))
    open_rows = np.flatnonzero(rough[:, -1] + doubt(units.shape[1]) >= lowest)
    if count < len(others) and len(open_rows):
        cosines = exact_cosines(units[open_rows], others)
        keys = _keys(cosines, np.broadcast_to(far, cosines.shape), places[open_rows])
        kept[open_rows] = np.partition(keys, -wanted, axis=1)[:, -wanted:]
    return kept


def _keys(cosines: NDArray[np.float64], far: Positions, own: Positions) -> Positions:
    """One integer per cosine [n, m] to a far place: larger is nearer, then earlier.

    A row itself is nothing.
    """
    steps = np.rint(cosines * STEPS).astype(np.int64)
    return np.where(far == own[:, None], NOTHING, (steps << SHIFT) - far)


def _places(keys: Positions) -> Positions:
    return -keys & ((1 << SHIFT) - 1)


def _cosines(keys: Positions) -> NDArray[np.float64]:
    """Cosines that the keys stand for, -inf for nothing."""
    steps = (keys + _places(keys)) >> SHIFT
    return np.where(keys == NOTHING, -np.inf, steps / STEPS)


def _graph(n: int, rows: Positions, keys: Positions) -> Graph:
    """The graph of n rows from the keys [usable rows, q] of the nearest of each usable row."""
    owners, slots = np.nonzero(keys != NOTHING)
    found = keys[owners, slots]
    ends = np.stack([rows[owners], rows[_places(found)]])
    pairs, first = np.unique(ends.min(axis=0) * n + ends.max(axis=0), return_index=True)
    squared = 2.0 - 2.0 * _cosines(found[first])
    low, high = pairs // max(n, 1), pairs % max(n, 1)
    owners, others = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((others, owners))
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))])
    return Graph(starts, others[order], np.tile(squared, 2)[order])
