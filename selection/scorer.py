"""The scorer of a cluster: the score that its rows are sampled by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selection.histogram import equal_bins
from selection.names import SCORES
from selection.pool import Scores

BINS = 50
Z_LIMIT = 4.0
MAX_ENTROPY = "max-entropy"
MEAN_RANK = "mean-rank"
RAW_ENTROPY = "raw-entropy"
RULES = (MAX_ENTROPY, MEAN_RANK, RAW_ENTROPY)


@dataclass(frozen=True, slots=True, eq=False)
class ScorerChoice:
    """The scorer of a cluster, its ``column`` [n_c], and the entropies of all scores.

    These are the ones that hang on no unit, whatever the rule. ``name`` and ``column`` are None
    when the scorer has no finite row there.
    """

    name: str | None
    column: Scores | None
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


def raw_entropy(scores: Scores) -> float:
    """The entropy, in bits, that the released code of arXiv 2410.10636 computes; for comparison.

    With s the standard deviation of the scores and z = (score - mean) / s: 50 numbers, evenly
    spaced from -4 s to 4 s, are the edges of bins over z; -sum_b p_b log2 p_b over the rows that
    fall between them, with a machine epsilon for each p_b that is 0. The bins span 8 s, but z has
    deviation 1, so that the value hangs on the unit: the smaller a score's raw spread, the finer
    its bins, the more of its rows fall outside and the larger its entropy. Scores that are not
    measured count as 0, infinite ones as the largest float. NaN where that formula gives no number:
    a constant score, one too large to be squared, or no row between the edges. Of the repository
    adymaharana/adapt-inf: ``data_selection/adapt-inf.py``, ``get_dist_entropy``.
    """
    filled = np.nan_to_num(scores.astype(np.float64))
    with np.errstate(over="ignore", invalid="ignore"):
        std = filled.std() if len(filled) else 0.0
    if not 0 < std < np.inf:
        return math.nan
    edges = np.linspace(-Z_LIMIT * std, Z_LIMIT * std, BINS)
    # Open on the left, closed on the right. Slot 0, left of the first edge, is kept empty there.
    slots = np.searchsorted(edges, (filled - filled.mean()) / std)
    counts = np.bincount(slots[(slots > 0) & (slots < BINS)], minlength=BINS)
    if not counts.any():
        return math.nan
    shares = np.where(counts > 0, counts / counts.sum(), np.finfo(np.float64).eps)
    return -float((shares * np.log2(shares)).sum())


def choose_scorer(scores: Mapping[str, Scores], rule: str = MAX_ENTROPY) -> ScorerChoice:
    """The scorer that the rule names for a cluster, given its columns of scores [n_c].

    "max-entropy": the score of largest histogram entropy; ties go to the earlier in
    :func:`scorer_order`. "mean-rank": the ensemble of :func:`mean_rank`. "raw-entropy": the score
    of largest :func:`raw_entropy`, of perplexity's logarithm, and before all others the first of
    which that is no number, as the released code does. Else the score of that name. A scorer
    without a single finite row in the cluster cannot be chosen.
    """
    entropies = {name: histogram_entropy(scores[name]) for name in scorer_order(scores)}
    able = [name for name in entropies if np.isfinite(scores[name]).any()]
    if rule == MEAN_RANK:
        ranks = mean_rank([scores[name] for name in able])
        if ranks is None or not np.isfinite(ranks).any():
            return ScorerChoice(None, None, entropies)
        return ScorerChoice(MEAN_RANK, ranks, entropies)
    ranked = entropies
    if rule == RAW_ENTROPY:
        ranked = {name: _raw_rank(name, scores[name]) for name in able}
    elif rule != MAX_ENTROPY:
        able = [name for name in able if name == rule]
    name = max(able, key=ranked.__getitem__, default=None)
    return ScorerChoice(name, None if name is None else scores[name], entropies)


def _raw_rank(name: str, column: Scores) -> float:
    """By what the released code ranks a score: NumPy's argmax takes NaN for the largest."""
    if name == "perplexity":
        with np.errstate(divide="ignore", invalid="ignore"):
            column = np.log(column)
    bits = raw_entropy(column)
    return math.inf if math.isnan(bits) else bits


def mean_rank(columns: Sequence[Scores]) -> Scores | None:
    """Mean over the scores of the rank of each row [n_c]; None without scores.

    Ranks count from 1 for the lowest score, tied rows share the mean of their ranks. A row that
    lacks any of the scores is set aside before ranking and gets NaN. Rising maps of a score change
    nothing. Ensemble of scores that the reviewers of arXiv 2410.10636 asked for.
    """
    if not columns:
        return None
    whole = np.logical_and.reduce([np.isfinite(column) for column in columns])
    means = np.full(len(columns[0]), np.nan)
    means[whole] = np.mean([_ranks(column[whole]) for column in columns], axis=0)
    return means


def _ranks(values: Scores) -> Scores:
    """Rank from 1 of each value, ties averaged."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(np.cumsum(counts) - (counts - 1) / 2)[place]


def scorer_order(names: Iterable[str]) -> list[str]:
    """Names in the order of SCORES, then all others alphabetically."""
    rank = {name: place for place, name in enumerate(SCORES)}
    return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))
