"""What a selection method is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from selection.centroids import Centroids
from selection.curve import Curve
from selection.pool import Matrix, Pool, Scores


@dataclass(frozen=True, slots=True)
class Request:
    """How many rows are wanted, from which seed, and how methods with clusters choose them.

    ``clusters``: their number, or a word of :data:`selection.names.CLUSTERS`. ``scorer``: a rule of
    :mod:`selection.scorer` or the name of a score. ``budgets``: a rule of
    :mod:`selection.allotment`. ``sampling``: a rule of :mod:`selection.sampling`. ``centroids``
    [k, d]: those of an earlier step, instead of new ones.
    """

    budget: int
    seed: int = 0
    clusters: int | str = "auto"
    scorer: str = "max-entropy"
    budgets: str = "uniform"
    sampling: str = "coverage"
    centroids: Matrix | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """One cluster as the summary shows it; ``entropies`` are bits by scorer."""

    cluster: int
    size: int
    budget: int
    scorer: str | None
    entropies: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Distinct row positions in any order, and what the method knows about each.

    The other columns are as long as ``indices``, or None where the method has nothing to tell;
    a ``stratum`` of -1 means none. ``excluded`` counts rows by reason, ``notes`` are sentences for
    the reader of the summary, ``centroids`` [k, d] the unit vectors of the clusters, ``curve`` how
    their number was found.
    """

    indices: NDArray[np.int64]
    cluster: NDArray[np.int32] | None = None
    scorer: Sequence[str | None] | None = None
    score: Scores | None = None
    stratum: NDArray[np.int32] | None = None
    clusters: Sequence[ClusterReport] = ()
    excluded: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    centroids: Centroids | None = None
    curve: Curve | None = None


Method = Callable[[Pool, Request], Choice]
