"""Permanent pruning: the rows that a lifelong pool can do without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from selection.budget import water_fill, whole_number
from selection.kmeans import cluster_rows
from selection.pool import Matrix, Pool, Positions
from selection.redundancy import Redundancy, redundancy


@dataclass(frozen=True, slots=True, eq=False)
class Pruning:
    """What stays and what goes.

    ``kept``: pool positions, ascending. ``table``: one row per pruned row, ascending: position
    int64, id string, cluster int32, nearest int64 (position of the nearest earlier row of its
    cluster that it had to be compared with) and similarity float64 (their cosine), both null where
    there is none. ``summary``:
    JSON-able; budget, n, kept, clusters (cluster, size, budget), excluded (rows by reason), and
    k_curve as in :class:`selection.Selection` when a rule found the number of clusters.
    """

    kept: Positions
    table: pa.Table
    summary: dict[str, Any]


def prune(pool: Pool, budget: int, seed: int = 0, clusters: int | str = "auto") -> Pruning:
    """The min(budget, n) rows that a pool keeps for good (LITE, arXiv 2410.10636).

    Rows are clustered by embedding (by feature when there are no embeddings), clusters share the
    budget by water filling, so large ones lose most, and each keeps its rows of smallest cosine to
    any earlier row: older rows win over later near-duplicates. Rows without a direction (zero or
    non-finite) form one cluster more, of which the oldest stay.

    Raises ValueError for a negative budget or a pool without embeddings and features.
    """
    vectors = pool.embeddings if pool.embeddings is not None else pool.features
    if vectors is None:
        raise ValueError("pruning needs embeddings or features (Pool.embeddings, Pool.features)")
    budget = whole_number("budget", budget)
    clustering = cluster_rows(vectors, budget, clusters, whole_number("seed", seed))
    sizes = [len(rows) for rows in clustering.members]
    shares = water_fill(sizes, budget)
    cuts = [
        _cut_cluster(vectors, rows, cluster, int(shares[cluster]), cluster != clustering.unusable)
        for cluster, rows in enumerate(clustering.members)
    ]
    table = _table(pool, cuts)
    kept = np.delete(np.arange(len(pool)), table["position"].to_numpy())
    summary: dict[str, Any] = {
        "budget": budget,
        "n": len(pool),
        "kept": len(kept),
        "clusters": [
            {"cluster": cluster, "size": size, "budget": int(shares[cluster])}
            for cluster, size in enumerate(sizes)
        ],
        "excluded": dict(clustering.excluded),
    }
    if clustering.curve is not None:
        summary["k_curve"] = clustering.curve.described()
    return Pruning(kept, table, summary)


def _cut_cluster(
    vectors: Matrix, rows: Positions, cluster: int, budget: int, usable: bool
) -> pa.Table:
    """The pruned rows of one cluster."""
    comparable = usable and budget < len(rows)
    found = redundancy(vectors, rows, budget) if comparable else Redundancy.unknown(len(rows))
    cut = np.delete(np.arange(len(rows)), found.keep(budget))
    alone = found.nearest[cut] < 0
    return pa.table(
        {
            "position": pa.array(rows[cut], pa.int64()),
            "cluster": pa.array(np.full(len(cut), cluster), pa.int32()),
            "nearest": pa.array(rows[found.nearest[cut]], pa.int64(), mask=alone),
            "similarity": pa.array(found.similarity[cut], pa.float64(), mask=alone),
        }
    )


def _table(pool: Pool, cuts: list[pa.Table]) -> pa.Table:
    """The pruned rows of all clusters in pool order, with their ids."""
    empty = np.empty(0, dtype=np.int64)
    parts = cuts or [_cut_cluster(np.empty((0, 1)), empty, 0, 0, usable=False)]
    table = pa.concat_tables(parts).sort_by("position").combine_chunks()
    ids = [pool.ids[position] for position in table["position"].to_pylist()]
    return table.add_column(1, "id", pa.array(ids, pa.string()))
