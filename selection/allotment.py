"""How the clusters share the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selection.budget import proportional, water_fill
from selection.choice import Request
from selection.pool import Pool, Positions, Scores
from selection.scorer import RULES

BUDGETS = ("uniform", "size", "score-weighted")
DEFAULT_SCORE = "el2n"


def cluster_budgets(
    pool: Pool, members: Sequence[Positions], request: Request
) -> NDArray[np.int64]:
    """Rows that each cluster gives: integers within the sizes, in sum exactly min(budget, n).

    "uniform": :func:`selection.budget.water_fill` over the sizes n_c. "size": in proportion to n_c.
    "score-weighted": in proportion to the cluster's mean score, of the score that ``scorer`` names,
    else of el2n. The last two round as :func:`selection.budget.proportional` does.

    Raises ValueError when "score-weighted" lacks its score, or a cluster's mean is negative.
    """
    sizes = np.array([len(rows) for rows in members], dtype=np.int64)
    if request.budgets == "size":
        return proportional(sizes, sizes, request.budget)
    if request.budgets == "score-weighted":
        score = DEFAULT_SCORE if request.scorer in RULES else request.scorer
        if score not in pool.scores:
            raise ValueError(f"score-weighted budgets need the score {score!r} (Pool.scores)")
        means = cluster_means(pool.scores[score], members)
        if len(means) and means.min() < 0:
            raise ValueError(
                f"score-weighted budgets need means of {score!r} that are not negative, but that of"
                f" cluster {means.argmin()} is {means.min():.6g}"
            )
        return proportional(means, sizes, request.budget)
    return water_fill(sizes, request.budget)


def cluster_means(column: Scores, members: Sequence[Positions]) -> Scores:
    """Mean of the finite scores of each cluster [k].

    A cluster without any has the mean of all finite scores, so that nothing is held against it;
    all clusters have 1 when no score is finite.
    """
    finite = np.isfinite(column)
    overall = float(column[finite].mean()) if finite.any() else 1.0
    return np.array(
        [column[rows[finite[rows]]].mean() if finite[rows].any() else overall for rows in members]
    )
