"""Among which rows a row had to stand out: those of its cluster, of its group, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selection import Pool, Selection, assign, select
from selection.pool import Positions
from selection.replay import age_groups
from stages.arrays.order import Order


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Rows out of which the method chose a number of its own.

    ``rows``: pool positions, ascending. ``report``: the cluster as the summary has it, None where
    the scope is no cluster. ``usable``: False for the cluster of rows without a direction.
    """

    name: str
    rows: Positions
    report: Mapping[str, Any] | None = None
    usable: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    name: str
    rows: Positions


def find_scopes(
    pool: Pool, selection: Selection, order: Order, positions: Sequence[int]
) -> list[Scope]:
    """The scope of each position, exactly as the selection had it.

    Where shares by group or age had to be enforced, the method chose within each group, and cluster
    numbers count on from group to group (:func:`selection.replay.choose_within`). Costs one more
    assignment of all rows to the centroids, O(n k d); for methods without clusters at most one more
    selection without shares.
    """
    if selection.centroids is not None:
        return _cluster_scopes(pool, selection, order, positions)
    parts = _groups(pool, order) if _is_split(pool, selection, order) else [_whole(pool)]
    return [
        Scope(part.name, part.rows)
        for position in positions
        for part in parts
        if position in part.rows
    ]


def _cluster_scopes(
    pool: Pool, selection: Selection, order: Order, positions: Sequence[int]
) -> list[Scope]:
    reports = selection.summary["clusters"]
    labels = _labels(pool, selection, [_whole(pool)])
    if labels.names.keys() != {report["cluster"] for report in reports}:
        labels = _labels(pool, selection, _groups(pool, order))
    numbers = labels.numbers
    numbers[selection.indices] = selection.table["cluster"].to_numpy()
    scopes = []
    for position in positions:
        number = int(numbers[position])
        scopes.append(
            Scope(
                name=labels.names[number],
                rows=np.flatnonzero(numbers == number),
                report=reports[number],
                usable=number not in labels.unusable,
            )
        )
    return scopes


@dataclass(frozen=True, slots=True, eq=False)
class _Labels:
    """Cluster number per row [n], the name of every cluster, and which have unusable rows."""

    numbers: Positions
    names: dict[int, str]
    unusable: set[int]


def _labels(pool: Pool, selection: Selection, parts: Sequence[_Part]) -> _Labels:
    """Clusters of each part in turn: one per centroid, one more if it has unusable rows."""
    assert pool.features is not None and selection.centroids is not None
    labels = _Labels(np.zeros(len(pool), dtype=np.int64), {}, set())
    k = len(selection.centroids)
    for part in parts:
        start = len(labels.names)
        whole = len(part.rows) == len(pool)
        features = pool.features if whole else pool.features[part.rows]
        nearest = assign(features, selection.centroids).labels if k else np.full(len(features), -1)
        labels.numbers[part.rows] = start + np.where(nearest < 0, k, nearest)
        count = k + bool((nearest < 0).any())
        among = "" if whole else f" of {part.name}"
        labels.names.update({start + c: f"cluster {start + c}{among}" for c in range(count)})
        labels.unusable.update(range(start + k, start + count))
    return labels


def _is_split(pool: Pool, selection: Selection, order: Order) -> bool:
    """Whether shares had to be enforced: whether the choice without them is another one."""
    rules = order.rules
    if rules.old is None and not rules.floors and not rules.ceilings:
        return False
    free = select(pool, order.budget, rules.method, rules.seed)
    return not np.array_equal(free.indices, selection.indices)


def _whole(pool: Pool) -> _Part:
    return _Part("the pool", np.arange(len(pool)))


def _groups(pool: Pool, order: Order) -> list[_Part]:
    """The groups that shares are about, by name."""
    groups = age_groups(pool) if order.rules.old is not None else pool.groups or ()
    column = np.array(groups, dtype=np.object_)
    names = sorted(set(groups))
    return [_Part(f"group {name!r}", np.flatnonzero(column == name)) for name in names]
