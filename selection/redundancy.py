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
            # In float32 the number of BLAS threads shows in the 7th decimal (measured); in float64,
            # rounded, it does not, and exact copies tie at 1.
            cosines = np.round(later @ earlier.T, 9)
            if other == start:
                cosines[np.triu_indices(len(later))] = -np.inf
            _raise_to(found, start, cosines, other)
    return found


def _raise_to(found: Redundancy, start: int, cosines: NDArray[np.float64], other: int) -> None:
    """Take over the cosines [later, earlier] that beat what was found; the earliest keeps a tie."""
    block = slice(start, start + len(cosines))
    nearest = cosines.argmax(axis=1)
    highest = np.take_along_axis(cosines, nearest[:, None], axis=1)[:, 0]
    higher = highest > found.similarity[block]
    found.nearest[block][higher] = nearest[higher] + other
    found.similarity[block][higher] = highest[higher]
