"""Near-duplicates: how close each row comes to any row before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection.pool import Matrix, Positions
from selection.unit import unit_rows

BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Redundancy:
    """Per row the place of its nearest earlier row (-1: none) and their cosine (-inf: none)."""

    nearest: Positions
    similarity: NDArray[np.float64]

    @classmethod
    def unknown(cls, n: int) -> Redundancy:
        """That of ``n`` rows of which no two can be compared."""
        return cls(np.full(n, -1, dtype=np.int64), np.full(n, -np.inf))

    def keep(self, budget: int) -> Positions:
        """Places of the ``budget`` least redundant rows, ascending; the older wins a tie."""
        return np.sort(np.argsort(self.similarity, kind="stable")[:budget])


def redundancy(vectors: Matrix, rows: Positions, block_rows: int = BLOCK_ROWS) -> Redundancy:
    """M_j = max over i < j of cos(i, j), among the given rows of ``vectors`` [n, d], in that order.

    The first row has no earlier one and gets -inf, so it is the last to go. Negative cosines count
    as they are. An earlier row counts whether or not it survives itself. Memory is that of two
    blocks and their cosines, whatever the number of rows. Permanent pruning, arXiv 2410.10636,
    after SemDeDup (arXiv 2303.09540).
    """
    found = Redundancy.unknown(len(rows))
    starts = range(0, len(rows), block_rows)
    for start in starts:
        later = unit_rows(vectors, rows[start : start + block_rows], np.float64)
        for other in starts[: start // block_rows + 1]:
            earlier = unit_rows(vectors, rows[other : other + block_rows], np.float64)
            cosines = _cosines(later, earlier)
            if other == start:
                cosines[np.triu_indices(len(later))] = -np.inf
            _raise_to(found, start, cosines, other)
    return found


def greedy_duplicates(
    vectors: Matrix, rows: Positions, threshold: float, block_rows: int = BLOCK_ROWS
) -> NDArray[np.bool_]:
    """Which of the given rows of ``vectors`` [n, d] have cos > threshold to an earlier kept one.

    A row is kept if it is not removed; other than in :func:`redundancy`, removed rows do not count.
    O(n n_kept d) time, memory of two blocks and their cosines.
    """
    removed = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), block_rows):
        later = unit_rows(vectors, rows[start : start + block_rows], np.float64)
        gone = removed[start : start + block_rows]
        kept = rows[:start][~removed[:start]]
        for other in range(0, len(kept), block_rows):
            earlier = unit_rows(vectors, kept[other : other + block_rows], np.float64)
            gone |= (_cosines(later, earlier) > threshold).any(axis=1)
        close = _cosines(later, later) > threshold
        for place in range(len(later)):
            if not gone[place]:
                gone[place + 1 :] |= close[place, place + 1 :]
    return removed


def _cosines(later: NDArray[np.float64], earlier: NDArray[np.float64]) -> NDArray[np.float64]:
    # In float32 the number of BLAS threads shows in the 7th decimal (measured); in float64,
    # rounded, it does not, and exact copies tie at 1.
    rounded: NDArray[np.float64] = np.round(later @ earlier.T, 9)
    return rounded


def _raise_to(found: Redundancy, start: int, cosines: NDArray[np.float64], other: int) -> None:
    """Take over the cosines [later, earlier] that beat what was found; the earliest keeps a tie."""
    block = slice(start, start + len(cosines))
    nearest = cosines.argmax(axis=1)
    highest = np.take_along_axis(cosines, nearest[:, None], axis=1)[:, 0]
    higher = highest > found.similarity[block]
    found.nearest[block][higher] = nearest[higher] + other
    found.similarity[block][higher] = highest[higher]
