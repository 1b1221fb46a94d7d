"""Methods that look at one score alone: the baselines of the paper's comparison."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from selection.choice import Choice, Method, Request
from selection.coverage import sample_coverage
from selection.names import SCORES
from selection.pool import Pool
from selection.seeds import generator


def single_score(method: str, score: str) -> Method:
    """The method known as ``method``: coverage-centric sampling of ``score`` over the whole pool.

    Exactly min(budget, n) rows, evenly from all strata of the score, without features or clusters;
    rows whose score is not finite form a stratum of their own and are counted in ``excluded``.
    O(n log n). Single-score baseline of arXiv 2410.10636 with the sampling of CCS
    (arXiv 2210.15809). The method raises ValueError when the pool lacks the score.
    """

    def choose(pool: Pool, request: Request) -> Choice:
        if score not in pool.scores:
            raise ValueError(f"{method} needs the score {score!r} (Pool.scores)")
        column = pool.scores[score]
        sample = sample_coverage(column, request.budget, generator(request.seed, method))
        missing = int((~np.isfinite(column)).sum())
        return Choice(
            indices=sample.places,
            scorer=[score] * len(sample.places),
            score=column[sample.places],
            stratum=sample.strata,
            excluded={f"non-finite-score:{score}": missing} if missing else {},
        )

    return choose


SINGLE_SCORES: Mapping[str, Method] = {
    method: single_score(method, score) for score in SCORES for method in [score.replace("_", "-")]
}
"""One method per score that feature extraction writes, in that order."""
