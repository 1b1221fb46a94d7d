"""The one call that chooses the rows of a training step."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike

from selection.budget import whole_number
from selection.choice import Choice, Request
from selection.pool import Pool, Positions
from selection.registry import lookup


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The chosen rows.

    ``indices``: pool positions, ascending. ``table``: one row each, in that order: position int64,
    id string, cluster int32, scorer string, score float64, stratum int32, the last four null where
    the method has nothing to tell. ``summary``: JSON-able; method, budget, n, selected, clusters
    (cluster, size, budget, scorer, entropies in bits), excluded (rows by reason), notes, and share
    (chosen rows by group) when the pool has groups.
    """

    indices: Positions
    table: pa.Table
    summary: dict[str, Any]


def select(
    pool: Pool,
    budget: int,
    method: str = "adapt-inf",
    seed: int = 0,
    clusters: int | str = "auto",
) -> Selection:
    """The rows of the pool to train on: min(budget, n) of them, unless the method says otherwise.

    The same pool, settings and seed give the same bytes, whatever the number of threads.
    ``clusters`` is the k of methods that cluster; "auto" is round(sqrt(budget)).

    Raises ValueError for an unknown method (with the nearest name), a negative budget, or a column
    that the method needs and the pool lacks.
    """
    run = lookup(method)
    request = Request(whole_number("budget", budget), whole_number("seed", seed), clusters)
    choice = run(pool, request)
    indices = np.asarray(choice.indices, dtype=np.int64)
    order = np.argsort(indices, kind="stable")
    indices = indices[order]
    if len(indices) and (np.diff(indices) == 0).any():
        raise ValueError(f"method {method!r} chose a row more than once")
    if len(indices) and not 0 <= indices[0] <= indices[-1] < len(pool):
        raise ValueError(f"method {method!r} chose a row outside the pool of {len(pool)}")
    table = _table(pool, choice, indices, order)
    return Selection(indices, table, _summary(pool, choice, indices, method, request.budget))


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
    return summary
