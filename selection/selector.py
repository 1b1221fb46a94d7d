"""The one call that chooses the rows of a training step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike

from selection.allotment import BUDGETS
from selection.budget import whole_number
from selection.centroids import Centroids
from selection.choice import Choice, Method, Request
from selection.methods import sequential_rows
from selection.pool import Matrix, Pool, Positions
from selection.registry import lookup
from selection.replay import (
    age_groups,
    age_limits,
    choose_within,
    group_limits,
    latest_of_skills,
    skill_limits,
)
from selection.sampling import SAMPLING
from selection.scorer import RULES
from selection.words import check_word


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The chosen rows.

    ``indices``: pool positions, ascending. ``table``: one row each, in that order: position int64,
    id string, cluster int32, scorer string, score float64, stratum int32, the last four null where
    the method has nothing to tell. ``summary``: JSON-able; method, budget, n, selected, clusters
    (cluster, size, budget, scorer, entropies in bits), excluded (rows by reason), notes, share
    (chosen rows by group) when the pool has groups, and k_curve when a rule found the number of
    clusters (rule, rows it looked at, chosen, and points: clusters with their distance or
    silhouette). ``centroids`` float32 [k, d]: the unit vectors of the clusters, row c being cluster
    c, for :func:`selection.assign` and for the next step; None for methods without.
    """

    indices: Positions
    table: pa.Table
    summary: dict[str, Any]
    centroids: Centroids | None = None


def select(
    pool: Pool,
    budget: int,
    method: str = "adapt-inf",
    seed: int = 0,
    clusters: int | str = "auto",
    *,
    scorer: str = "max-entropy",
    budgets: str = "uniform",
    sampling: str = "coverage",
    centroids: Matrix | None = None,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    old: Sequence[float] | None = None,
    skill_floor: float = 0.0,
) -> Selection:
    """The rows of the pool to train on: min(budget, n) of them, unless the method says otherwise.

    The same pool, settings and seed give the same bytes, whatever the number of threads.
    ``clusters`` is the k of methods that cluster; "auto" is round(sqrt(budget)), "elbow" and
    "silhouette" find it (:func:`selection.curve.count_curve`). adapt-inf also takes ``scorer``
    ("max-entropy", "mean-rank", "raw-entropy" or the name of a score), ``budgets`` ("uniform",
    "size" or "score-weighted"), ``sampling`` ("coverage", "random", "top", "bottom" or "middle").
    Methods that cluster take the ``centroids`` of an earlier selection, to use instead of new ones.

    ``floors`` and ``ceilings`` bound the share that a group of Pool.groups has of the chosen rows,
    ``old`` (least, largest) that of all rows before the newest arrival, ``skill_floor`` is the
    least share of each of Pool.skills, as :func:`selection.replay.choose_within` and
    :func:`selection.replay.skill_limits` say; one of the three.

    Raises ValueError for an unknown method or option (with the nearest name), a negative budget,
    shares that cannot be kept, or a column that the method needs and the pool lacks.
    """
    run = lookup(method)
    check_word("scorer", scorer, (*RULES, *pool.scores))
    check_word("budgets", budgets, BUDGETS)
    check_word("sampling", sampling, tuple(SAMPLING))
    seed = whole_number("seed", seed)
    request = Request(
        whole_number("budget", budget), seed, clusters, scorer, budgets, sampling, centroids
    )
    choice = _choice(run, pool, request, floors or {}, ceilings or {}, old, skill_floor)
    if centroids is not None and choice.centroids is None:
        raise ValueError(f"method {method!r} takes no centroids")
    return _selection(pool, choice, method, request.budget)


def _choice(
    method: Method,
    pool: Pool,
    request: Request,
    floors: Mapping[str, float],
    ceilings: Mapping[str, float],
    old: Sequence[float] | None,
    skill_floor: float,
) -> Choice:
    """The choice of the method, within the shares that are asked for."""
    if skill_floor:
        if floors or ceilings or old is not None:
            raise ValueError("skill_floor cannot be combined with floors, ceilings or old")
        if not 0 < skill_floor <= 1:
            raise ValueError(f"skill_floor must be a share between 0 and 1 (seen: {skill_floor})")
        if pool.skills is None:
            raise ValueError("skill_floor needs the skill of every row (Pool.skills)")
        # Of a skill's rows, too, sequential takes those that came last alone.
        taken = latest_of_skills(pool) if method is sequential_rows else pool.skills
        of_skills = partial(skill_limits, taken, skill_floor)
        return choose_within(method, pool, request, pool.skills, of_skills)
    if old is not None:
        if floors or ceilings:
            raise ValueError("old cannot be combined with floors or ceilings of groups")
        return choose_within(method, pool, request, age_groups(pool), age_limits(old))
    if floors or ceilings:
        limits = group_limits(pool, floors, ceilings)
        return choose_within(method, pool, request, pool.groups or (), limits)
    return method(pool, request)


def _selection(pool: Pool, choice: Choice, method: str, budget: int) -> Selection:
    """The choice in pool order; ValueError when its rows are not distinct rows of the pool."""
    indices = np.asarray(choice.indices, dtype=np.int64)
    order = np.argsort(indices, kind="stable")
    indices = indices[order]
    if len(indices) and (np.diff(indices) == 0).any():
        raise ValueError(f"method {method!r} chose a row more than once")
    if len(indices) and not 0 <= indices[0] <= indices[-1] < len(pool):
        raise ValueError(f"method {method!r} chose a row outside the pool of {len(pool)}")
    table = _table(pool, choice, indices, order)
    summary = _summary(pool, choice, indices, method, budget)
    return Selection(indices, table, summary, choice.centroids)


def _table(pool: Pool, choice: Choice, indices: Positions, order: Positions) -> pa.Table:
    def column(values: object, dtype: DTypeLike, kind: pa.DataType) -> pa.Array:
        if values is None:
            return pa.nulls(len(order), kind)
        ordered = np.asarray(values, dtype=dtype)[order]
        return pa.array(ordered, kind, from_pandas=True)

    stratum = column(choice.stratum, np.int32, pa.int32())
    return pa.table(
        {
            "position": pa.array(indices, pa.int64()),
            "id": pa.array([pool.ids[i] for i in indices], pa.string()),
            "cluster": column(choice.cluster, np.int32, pa.int32()),
            "scorer": column(choice.scorer, np.object_, pa.string()),
            "score": column(choice.score, np.float64, pa.float64()),
            "stratum": pc.if_else(pc.equal(stratum, -1), None, stratum),
        }
    )


def _summary(
    pool: Pool, choice: Choice, indices: Positions, method: str, budget: int
) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "method": method,
        "budget": budget,
        "n": len(pool),
        "selected": len(indices),
        "clusters": [asdict(report) for report in choice.clusters],
        "excluded": dict(choice.excluded),
        "notes": list(choice.notes),
    }
    if pool.groups is not None:
        share = Counter(pool.groups[i] for i in indices)
        summary["share"] = {name: share[name] for name in sorted(share)}
    if choice.curve is not None:
        summary["k_curve"] = choice.curve.described()
    return summary
