"""What the selection knows about a row, chosen or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection import Pool, Selection
from selection.coverage import stratify
from selection.pool import Matrix, Positions, Scores
from selection.scorer import choose_scorer
from selection.single import SINGLE_SCORES
from selection.unit import blocks, row_peaks, unit_rows
from stages.arrays.order import Order
from stages.arrays.reasons import Case, reason
from stages.arrays.scopes import Scope, find_scopes

SAMPLED = frozenset({"adapt-inf", "adapt-inf-lite"})
"""Methods that sample each cluster by a score of its own."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another chosen row, and the cosine of its feature."""

    id: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A row and its fate; None where the method has nothing to tell.

    ``score`` is the row's score by the ``scorer``, None where it is not measured. ``neighbour`` is
    the nearest chosen row other than itself.
    """

    id: str
    position: int
    chosen: bool
    group: str | None
    cluster: int | None
    cluster_size: int | None
    cluster_budget: int | None
    scorer: str | None
    score: float | None
    stratum: int | None
    neighbour: Neighbour | None
    reason: str


def explain_rows(
    pool: Pool, selection: Selection, order: Order, positions: Sequence[int]
) -> list[Explanation]:
    """The explanation of each position, out of the same functions that made the selection."""
    if not positions:
        return []
    scopes = find_scopes(pool, selection, order, positions)
    neighbours = nearest_chosen(pool, selection.indices, positions)
    return [
        _explain(_case(pool, selection, order, scope, position), neighbour)
        for position, neighbour, scope in zip(positions, neighbours, scopes, strict=True)
    ]


def nearest_chosen(
    pool: Pool, chosen: Positions, positions: Sequence[int]
) -> list[Neighbour | None]:
    """Of each row the chosen row of largest cosine other than itself, the earlier winning a tie.

    None without features, for a row without a direction, and where no other chosen row has one.
    O(q B d) for q rows, memory of one block of chosen rows.
    """
    if pool.features is None:
        return [None for _ in positions]
    asked = np.array(positions, dtype=np.int64)
    able = _has_direction(pool.features, asked)
    others = chosen[_has_direction(pool.features, chosen)]
    best, cosines = np.zeros(len(asked), dtype=np.int64), np.full(len(asked), -np.inf)
    queries = unit_rows(pool.features, asked[able], np.float64)
    for block in blocks(len(others)):
        here = others[block]
        found = np.full((len(asked), len(here)), -np.inf)
        # Rounded, because the last bits hang on the number of BLAS threads.
        found[able] = np.round(queries @ unit_rows(pool.features, here, np.float64).T, 9)
        found[asked[:, None] == here[None, :]] = -np.inf
        nearest = found.argmax(axis=1)
        highest = np.take_along_axis(found, nearest[:, None], axis=1)[:, 0]
        higher = highest > cosines
        best[higher], cosines[higher] = here[nearest[higher]], highest[higher]
    return [
        Neighbour(pool.ids[row], cosine) if np.isfinite(cosine) else None
        for row, cosine in zip(best.tolist(), cosines.tolist(), strict=True)
    ]


def _has_direction(features: Matrix, rows: Positions) -> NDArray[np.bool_]:
    """Which of the rows are neither zero nor without a finite value, block by block."""
    able = np.zeros(len(rows), dtype=np.bool_)
    for block in blocks(len(rows)):
        peaks = row_peaks(features[rows[block]])
        able[block] = np.isfinite(peaks) & (peaks > 0)
    return able


def _case(pool: Pool, selection: Selection, order: Order, scope: Scope, position: int) -> Case:
    """The row with what its method looked at, by the functions that the method itself uses."""
    method, rules = order.rules.method, order.rules
    scorer: str | None = None
    column: Scores | None = None
    sampling: str | None = None
    if method in SAMPLED and scope.usable:
        here = {name: scores[scope.rows] for name, scores in pool.scores.items()}
        choice = choose_scorer(here, rules.scorer)
        scorer, column = choice.name, choice.column
        sampling = "random" if column is None else rules.sampling
    elif method in SINGLE_SCORES or method == "d2":
        scorer = selection.table["scorer"][0].as_py()
        column = pool.scores[str(scorer)][scope.rows]
        sampling = "coverage" if method in SINGLE_SCORES else None
    return Case(
        pool=pool,
        scope=scope,
        place=int(np.searchsorted(scope.rows, position)),
        taken=np.isin(scope.rows, selection.indices, assume_unique=True),
        method=method,
        sampling=sampling,
        scorer=scorer,
        scores=column,
        strata=stratify(column) if column is not None and sampling == "coverage" else None,
    )


def _explain(case: Case, neighbour: Neighbour | None) -> Explanation:
    pool, report = case.pool, case.scope.report or {}
    position = int(case.scope.rows[case.place])
    score = None if case.scores is None else float(case.scores[case.place])
    return Explanation(
        id=pool.ids[position],
        position=position,
        chosen=bool(case.taken[case.place]),
        group=None if pool.groups is None else pool.groups[position],
        cluster=report.get("cluster"),
        cluster_size=report.get("size"),
        cluster_budget=report.get("budget"),
        scorer=case.scorer,
        score=score if score is not None and np.isfinite(score) else None,
        stratum=None if case.strata is None else int(case.strata[case.place]),
        neighbour=neighbour,
        reason=reason(case),
    )
