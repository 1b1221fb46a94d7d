"""Near-duplicates: how close each row comes to any row before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection.cosine import Nearest, above, nearest_rows
from selection.pool import Matrix, Positions
from selection.unit import unit_rows

BLOCK_ROWS = 256
EARLIER_ROWS = 2048


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


def redundancy(
    vectors: Matrix,
    rows: Positions,
    budget: int | None = None,
    *,
    block_rows: int = BLOCK_ROWS,
    earlier_rows: int = EARLIER_ROWS,
) -> Redundancy:
    """M_j = max over i < j of cos(i, j), among the given rows of ``vectors`` [n, d], in that order.

    The first row has no earlier one and gets -inf, so it is the last to go. Negative cosines count
    as they are. An earlier row counts whether or not it survives itself. Memory is that of
    ``earlier_rows`` and ``block_rows`` rows and their cosines, whatever the number of rows. O(n^2
    d) time. Permanent pruning, arXiv 2410.10636, after SemDeDup (arXiv 2303.09540).

    With a ``budget``, a row that cannot be among so many least redundant ones any more is compared
    no further: it has the nearest of those it was compared with, a lower bound of its M_j. What is
    kept is the same. Of 19,068 rows that were to leave 960, 30 % of the comparisons remained
    (measured).
    """
    found = Redundancy.unknown(len(rows))
    is_open = np.ones(len(rows), dtype=np.bool_)
    for first in range(0, len(rows), earlier_rows):
        known = unit_rows(vectors, rows[first : first + earlier_rows])
        after = first + len(known)
        for start in range(first, after, block_rows):
            within = known[: start - first + block_rows]
            places = start + np.flatnonzero(is_open[start : first + len(within)])
            before = np.tri(len(within) - (start - first), k=-1, dtype=np.bool_)[places - start]
            _raise_to(found, places, nearest_rows(known[places - first], within, before), first)
        later = after + np.flatnonzero(is_open[after:])
        for start in range(0, len(later), block_rows):
            places = later[start : start + block_rows]
            units = unit_rows(vectors, rows[places])
            _raise_to(found, places, nearest_rows(units, known), first)
        if budget is not None:
            is_open &= found.similarity < _limit(found.similarity[:after], budget)
    return found


def _limit(similarity: NDArray[np.float64], budget: int) -> float:
    """The ``budget``-th smallest value: a later row that reaches it comes after so many others."""
    if budget == 0:
        return -np.inf
    if budget > len(similarity):
        return np.inf
    return float(np.partition(similarity, budget - 1)[budget - 1])


def greedy_duplicates(
    vectors: Matrix, rows: Positions, threshold: float, block_rows: int = BLOCK_ROWS
) -> NDArray[np.bool_]:
    """Which of the given rows of ``vectors`` [n, d] have cos > threshold to an earlier kept one.

    A row is kept if it is not removed; other than in :func:`redundancy`, removed rows do not count.
    O(n n_kept d) time, memory of two blocks and their cosines.
    """
    removed = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), block_rows):
        later = unit_rows(vectors, rows[start : start + block_rows])
        gone = removed[start : start + block_rows]
        kept = rows[:start][~removed[:start]]
        for other in range(0, len(kept), block_rows):
            earlier = unit_rows(vectors, kept[other : other + block_rows])
            gone |= above(later, earlier, threshold).any(axis=1)
        close = above(later, later, threshold)
        for place in range(len(later)):
            if not gone[place]:
                gone[place + 1 :] |= close[place, place + 1 :]
    return removed


def _raise_to(found: Redundancy, places: Positions, nearest: Nearest, first: int) -> None:
    """Take over the cosines of the rows at ``places`` that beat what was found before.

    What they are nearest to counts from ``first``; the earliest keeps a tie.
    """
    higher = nearest.cosines > found.similarity[places]
    found.nearest[places[higher]] = nearest.places[higher] + first
    found.similarity[places[higher]] = nearest.cosines[higher]
