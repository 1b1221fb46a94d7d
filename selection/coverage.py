"""Coverage-centric sampling: rows from the whole range of a score, not from one end of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection.budget import water_fill
from selection.histogram import equal_bins
from selection.pool import Positions, Scores

STRATA = 50
UNSCORED = STRATA
TRIMMED = STRATA + 1
TAIL = 20
"""One row in so many is trimmed at either end of the score (5 %, as in the authors' code)."""


@dataclass(frozen=True, slots=True, eq=False)
class StratifiedSample:
    """Chosen places (ascending, within the array handed in) and the stratum of each."""

    places: Positions
    strata: NDArray[np.int32]


def stratify(scores: Scores) -> NDArray[np.int32]:
    """Stratum of every row [n].

    0..49: equal widths between the trimmed extremes, which are the finite scores of rank
    floor(n / 20) from below and from above; 50: score not finite; 51: trimmed, that is, beyond the
    extremes. Clusters below 20 rows lose nothing, rows that tie with an extreme are kept, and a
    constant score is one stratum.
    """
    strata = np.full(len(scores), UNSCORED, dtype=np.int32)
    finite = np.isfinite(scores)
    ranked = np.sort(scores[finite])
    if len(ranked):
        cut = len(ranked) // TAIL
        low, high = float(ranked[cut]), float(ranked[-1 - cut])
        strata[finite] = TRIMMED
        core = (scores >= low) & (scores <= high)
        strata[core] = equal_bins(scores[core], low, high, STRATA)
    return strata


def sample_coverage(scores: Scores, budget: int, rng: np.random.Generator) -> StratifiedSample:
    """Exactly min(budget, n) rows, spread evenly over the strata of the score.

    Strata 0..50 share the budget by water filling, smallest first (CCS, arXiv 2210.15809); the
    trimmed rows only give what those cannot. Inside a stratum rows are drawn uniformly without
    replacement, and the draw of a larger budget contains that of a smaller one.
    """
    strata = stratify(scores)
    sizes = np.bincount(strata, minlength=TRIMMED + 1)
    shares = water_fill(sizes[:TRIMMED], budget)
    shares = np.append(shares, min(int(sizes[TRIMMED]), budget - int(shares.sum())))
    order = np.lexsort((rng.random(len(scores)), strata))
    first = np.cumsum(sizes) - sizes
    rank = np.arange(len(scores)) - first[strata[order]]
    places = np.sort(order[rank < shares[strata[order]]])
    return StratifiedSample(places, strata[places])
