"""The scorer of a cluster: the one whose scores tell the cluster's rows apart best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from selection.histogram import equal_bins
from selection.names import SCORES
from selection.pool import Scores

BINS = 50
Z_LIMIT = 4.0


@dataclass(frozen=True, slots=True)
class ScorerChoice:
    """The winning scorer of a cluster (None when no score is finite there) and all entropies."""

    name: str | None
    entropies: Mapping[str, float]


def histogram_entropy(scores: Scores) -> float:
    """Spread of a score over a cluster, in bits, whatever the unit of the score.

    With z = (score - mean) / std over the finite scores and p_b the share of rows in bin b of 50
    equal bins over z in [-4, 4] (tails counted in the end bins): H = -sum_b p_b log2 p_b. Positive
    rescaling and shifting change nothing; a negative factor mirrors the histogram. A constant score
    and a score without finite rows have 0 bits. Rounded to 9 decimals, so that equal histograms
    tie. Multi-way selection of arXiv 2410.10636.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite) or finite.min() == finite.max():
        return 0.0
    # Divided by the peak first: squares of very large or very small scores leave the float range.
    scaled = finite / np.abs(finite).max()
    z = (scaled - scaled.mean()) / scaled.std()
    counts = np.bincount(equal_bins(z, -Z_LIMIT, Z_LIMIT, BINS))
    shares = counts[counts > 0] / len(finite)
    return round(float((shares * np.log2(1.0 / shares)).sum()), 9)


def choose_scorer(scores: Mapping[str, Scores]) -> ScorerChoice:
    """The scorer of largest histogram entropy; ties go to the earlier in :func:`scorer_order`.

    A scorer without a single finite row in the cluster cannot win.
    """
    entropies = {name: histogram_entropy(scores[name]) for name in scorer_order(scores)}
    able = [name for name in entropies if np.isfinite(scores[name]).any()]
    return ScorerChoice(max(able, key=entropies.__getitem__, default=None), entropies)


def scorer_order(names: Iterable[str]) -> list[str]:
    """Names in the order of SCORES, then all others alphabetically."""
    rank = {name: place for place, name in enumerate(SCORES)}
    return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))
