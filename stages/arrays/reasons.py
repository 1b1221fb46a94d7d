"""Why a row was chosen or not, in a sentence of what the method looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection import Pool
from selection.clusterwise import centroid_directions
from selection.coverage import TRIMMED, UNSCORED
from selection.density import centroid_distances
from selection.kmeans import Clustering
from selection.pool import Scores
from selection.redundancy import redundancy
from selection.unit import row_peaks
from stages.arrays.scopes import Scope


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One row before its judge.

    ``place`` is that of the row within ``scope.rows``; ``taken`` [m] says which of these were
    chosen, ``scores`` and ``strata`` [m] what they were sampled by, None where the method uses
    none. ``sampling`` is a rule of :mod:`selection.sampling`.
    """

    pool: Pool
    scope: Scope
    place: int
    taken: NDArray[np.bool_]
    method: str
    sampling: str | None = None
    scorer: str | None = None
    scores: Scores | None = None
    strata: NDArray[np.int32] | None = None

    @property
    def counts(self) -> str:
        """``3 of 7``: chosen rows of all rows of the scope."""
        return f"{self.taken.sum()} of {len(self.taken)}"


def reason(case: Case) -> str:
    """The sentence. True of chosen rows and of others alike, but for what the row itself did."""
    if case.method == "sequential":
        return _newest(case)
    if not case.scope.usable:
        return f"{_defect(case)}: {case.counts} rows of {case.scope.name} drawn at random"
    if case.taken.all():
        return f"{case.scope.name} gives all its rows"
    if not case.taken.any():
        return f"the budget leaves no row to {case.scope.name}"
    if case.strata is not None:
        return _stratum(case)
    if case.sampling in _EXTREMES and case.scores is not None:
        return _extreme(case)
    if case.method in _RULES:
        return _RULES[case.method](case)
    return f"{case.counts} rows of {case.scope.name} drawn at random"


def _newest(case: Case) -> str:
    assert case.pool.arrival is not None
    arrival = case.pool.arrival[case.scope.rows]
    newest = arrival.max()
    if arrival[case.place] < newest:
        return f"came at step {arrival[case.place]}, and only rows of step {newest} are drawn"
    of_step = int((arrival == newest).sum())
    return f"{case.taken.sum()} of {of_step} rows of step {newest} drawn at random"


def _defect(case: Case) -> str:
    assert case.pool.features is not None
    row = case.scope.rows[[case.place]]
    return "zero feature" if row_peaks(case.pool.features[row])[0] == 0 else "non-finite feature"


def _stratum(case: Case) -> str:
    assert case.strata is not None
    stratum = case.strata[case.place]
    same = case.strata == stratum
    drawn = int(case.taken[same].sum())
    counts = f"{drawn} of {same.sum()}"
    if stratum == TRIMMED:
        return (
            f"trimmed: its {case.scorer} is at an end of {case.scope.name};"
            f" {counts} trimmed rows were needed"
        )
    if stratum == UNSCORED:
        return f"no {case.scorer}: {counts} such rows of {case.scope.name} drawn at random"
    if not drawn:
        return f"the budget leaves no row to stratum {stratum} of {case.scope.name}"
    full = "" if case.taken[case.place] else "stratum full: "
    return f"{full}{counts} rows of stratum {stratum} of {case.scope.name} drawn at random"


def _extreme(case: Case) -> str:
    assert case.scores is not None
    if not np.isfinite(case.scores[case.place]):
        return f"no {case.scorer}: such rows of {case.scope.name} come last"
    taken = case.scores[case.taken]
    taken = taken[np.isfinite(taken)]
    return (
        f"{case.counts} rows of {case.scope.name} chosen, those of {_EXTREMES[str(case.sampling)]}"
        f" {case.scorer}: {taken.min():.6g} to {taken.max():.6g}"
    )


def _least_redundant(case: Case) -> str:
    assert case.pool.features is not None
    found = redundancy(case.pool.features, case.scope.rows)
    earlier = int(found.nearest[case.place])
    if earlier < 0:
        return f"the first row of {case.scope.name}, which is never a copy"
    kept = found.similarity[case.taken].max()
    limit = f", up to {kept:.6f}" if np.isfinite(kept) else ""
    return (
        f"cosine {found.similarity[case.place]:.6f} to the earlier row"
        f" {case.pool.ids[case.scope.rows[earlier]]!r}; of {case.scope.name} the"
        f" {case.counts} rows of smallest such cosine are chosen{limit}"
    )


def _farthest(case: Case) -> str:
    features, rows = case.pool.features, case.scope.rows
    assert features is not None
    zero = np.zeros((1, features.shape[1]), dtype=np.float32)
    cluster = Clustering(members=[rows], unusable=None, excluded={}, centroids=zero)
    distances = centroid_distances(features, cluster, centroid_directions(features, cluster))[0]
    return (
        f"cosine distance {distances[case.place]:.6f} to the centre of {case.scope.name}, of which"
        f" the {case.counts} farthest rows are chosen, from {distances[case.taken].min():.6f} on"
    )


def _matching(case: Case) -> str:
    return f"the {case.counts} rows are chosen that together resemble {case.scope.name} most"


def _in_demand(case: Case) -> str:
    return f"rows are chosen by {case.scorer}, and each makes its neighbours less wanted"


_EXTREMES: Mapping[str, str] = {"top": "largest", "bottom": "smallest", "middle": "middle"}

_RULES: Mapping[str, Callable[[Case], str]] = {
    "semdedup": _least_redundant,
    "dbp": _farthest,
    "coincide": _matching,
    "d2": _in_demand,
}
