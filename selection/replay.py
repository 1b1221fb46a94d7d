"""Replay control: floors and ceilings on the share that each group of rows has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from selection.choice import Choice, Method, Request
from selection.pool import Pool, Positions
from selection.words import check_word

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class ShareRange:
    """A group's share of the selection, from ``low`` to ``high``, both between 0 and 1."""

    low: float | Fraction = 0.0
    high: float | Fraction = 1.0


Limits = Mapping[str, ShareRange]


def group_limits(pool: Pool, floors: Mapping[str, float], ceilings: Mapping[str, float]) -> Limits:
    """The range of every group that is named.

    ValueError for a range that is empty or leaves [0, 1], and for a group that no row has.
    """
    known = sorted(set(pool.groups or ()))
    for group in (*floors, *ceilings):
        check_word("group", group, known)
    limits = {
        group: ShareRange(floors.get(group, 0.0), ceilings.get(group, 1.0))
        for group in {**floors, **ceilings}
    }
    _check(limits)
    return limits


def age_limits(old: Sequence[float]) -> Limits:
    """The range of the group "old" from its least and largest share; ValueError as above."""
    if len(old) != 2:
        raise ValueError(f"old must be a least and a largest share (seen: {old!r})")
    limits = {"old": ShareRange(*old)}
    _check(limits)
    return limits


def skill_limits(skills: Sequence[str], floor: float, total: int) -> Limits:
    """Of every skill at least ceil(floor T) of T rows; ``skills`` has a name for each row of it.

    Less where it has no more, and an equal part of them all where that would be too many.
    """
    sizes = Counter(skills)
    rows = min(math.ceil(Fraction(str(floor)) * total), total // max(1, len(sizes)))
    return {
        skill: ShareRange(Fraction(min(rows, size), max(1, total))) for skill, size in sizes.items()
    }


def latest_of_skills(pool: Pool) -> list[str]:
    """The skill of each row than which no later one of the same skill has come."""
    if pool.skills is None or pool.arrival is None:
        raise ValueError("this needs skill and arrival step of every row (Pool.skills, .arrival)")
    pairs = list(zip(pool.skills, pool.arrival.tolist(), strict=True))
    latest: dict[str, int] = {}
    for skill, arrival in pairs:
        latest[skill] = max(arrival, latest.get(skill, arrival))
    return [skill for skill, arrival in pairs if arrival == latest[skill]]


def _check(limits: Limits) -> None:
    for group, share in limits.items():
        if not 0 <= share.low <= share.high <= 1:
            raise ValueError(
                f"shares of group {group!r} must obey 0 <= floor <= ceiling <= 1"
                f" (seen: floor {share.low}, ceiling {share.high})"
            )


def age_groups(pool: Pool) -> tuple[str, ...]:
    """Per row "new" for the newest arrival and "old" for all earlier ones."""
    if pool.arrival is None:
        raise ValueError("a share of old rows needs the arrival step of every row (Pool.arrival)")
    newest = pool.arrival.max(initial=np.iinfo(np.int64).min)
    return tuple("old" if arrival < newest else "new" for arrival in pool.arrival)


def choose_within(
    method: Method,
    pool: Pool,
    request: Request,
    groups: Sequence[str],
    limits: Limits | Callable[[int], Limits],
) -> Choice:
    """The choice of the method with every group's share of its T rows within its limits.

    Limits may hang on T. A group of share [low, high] gives at least ceil(low T) and at most
    floor(high T) rows. When the method's own choice does so, it stands. Else the counts by group
    are moved to the nearest ones allowed (:func:`project`), and the method chooses that many rows
    within each group, as from a pool of its own, but in the clusters of the whole pool where the
    method has centroids. Cluster numbers then count on from group to group.

    Raises ValueError when no counts obey the limits, naming the group, or when the method does not
    choose as many rows as asked.
    """
    free = method(pool, request)
    total = len(free.indices)
    limits = limits(total) if callable(limits) else limits
    names = sorted({*groups, *limits})
    number = {name: place for place, name in enumerate(names)}
    labels = np.array([number[name] for name in groups], dtype=np.int64)
    counts = np.bincount(labels[free.indices], minlength=len(names))
    low, high = _bounds(names, np.bincount(labels, minlength=len(names)), total, limits)
    if ((low <= counts) & (counts <= high)).all():
        return free
    parts = []
    for place, budget in enumerate(project(counts, low, high)):
        rows = np.flatnonzero(labels == place)
        if len(rows):
            part = replace(request, budget=int(budget), centroids=free.centroids)
            parts.append(_choose_group(method, pool, part, rows, names[place]))
    return replace(
        _joined(parts), excluded=free.excluded, centroids=free.centroids, curve=free.curve
    )


def _choose_group(
    method: Method, pool: Pool, request: Request, rows: Positions, name: str
) -> Choice:
    """The choice among the given rows, by their positions in the whole pool."""
    if request.centroids is not None and not len(request.centroids):
        request = replace(request, centroids=None)
    choice = method(take(pool, rows), request)
    if len(choice.indices) != request.budget:
        raise ValueError(
            f"shares cannot be kept: {len(choice.indices)} instead of {request.budget} rows chosen"
            f" in group {name!r}"
        )
    return replace(choice, indices=rows[choice.indices])


def _joined(parts: Sequence[Choice]) -> Choice:
    """One choice of all parts; clusters are numbered on from part to part."""
    starts = np.cumsum([0, *(len(part.clusters) for part in parts)])[:-1]
    numbers = [
        None if part.cluster is None else (part.cluster + start).astype(np.int32)
        for part, start in zip(parts, starts, strict=True)
    ]
    names = [part.scorer for part in parts if part.scorer is not None]
    return Choice(
        indices=np.concatenate([part.indices for part in parts]),
        cluster=_column(numbers),
        scorer=[name for part in names for name in part] if len(names) == len(parts) else None,
        score=_column([part.score for part in parts]),
        stratum=_column([part.stratum for part in parts]),
        clusters=[
            replace(report, cluster=report.cluster + int(start))
            for part, start in zip(parts, starts, strict=True)
            for report in part.clusters
        ],
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _column(columns: Sequence[NDArray[Number] | None]) -> NDArray[Number] | None:
    """The columns one after the other; None when a part has none."""
    known = [column for column in columns if column is not None]
    return np.concatenate(known) if len(known) == len(columns) else None


def project(
    counts: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Integers x [g] that minimise sum (x - counts)^2 within low <= x <= high, of the same sum.

    x = clip(counts + f, low, high) for the largest integer f that does not exceed the sum; the rows
    then missing, fewer than there are groups, go to the first groups that f + 1 would raise. The
    bounds must allow the sum.
    """
    total = int(counts.sum())
    reach = int(np.abs(counts).max(initial=0) + np.abs(high).max(initial=0)) + 1
    below, above = -reach, reach
    while above - below > 1:
        middle = (below + above) // 2
        if np.clip(counts + middle, low, high).sum() <= total:
            below = middle
        else:
            above = middle
    found = np.clip(counts + below, low, high)
    raised = np.flatnonzero(np.clip(counts + above, low, high) > found)
    found[raised[: total - int(found.sum())]] += 1
    return found


def take(pool: Pool, rows: Positions) -> Pool:
    """The pool of the given rows alone, in that order."""
    return Pool(
        ids=[pool.ids[row] for row in rows],
        features=None if pool.features is None else pool.features[rows],
        scores={name: column[rows] for name, column in pool.scores.items()},
        embeddings=None if pool.embeddings is None else pool.embeddings[rows],
        groups=None if pool.groups is None else [pool.groups[row] for row in rows],
        arrival=None if pool.arrival is None else pool.arrival[rows],
        skills=None if pool.skills is None else [pool.skills[row] for row in rows],
    )


def _bounds(
    names: Sequence[str], sizes: NDArray[np.int64], total: int, limits: Limits
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and most rows of each group; ValueError when no counts of that sum lie between."""
    low, high = np.zeros_like(sizes), sizes.copy()
    for place, name in enumerate(names):
        share = limits.get(name, ShareRange())
        # The decimal that was written, not the binary number next to it: 0.07 of 100 rows is 7.
        low[place] = math.ceil(Fraction(str(share.low)) * total)
        high[place] = min(high[place], math.floor(Fraction(str(share.high)) * total))
        if low[place] > high[place]:
            raise ValueError(
                f"group {name!r} must give at least {low[place]} of {total} rows (floor"
                f" {share.low}), but can give at most {high[place]} of its {sizes[place]}"
            )
    if low.sum() > total:
        floors = ", ".join(f"{name} {least}" for name, least in zip(names, low, strict=True))
        raise ValueError(f"the floors ask for {low.sum()} of {total} rows: {floors}")
    if high.sum() < total:
        most = ", ".join(f"{name} {rows}" for name, rows in zip(names, high, strict=True))
        raise ValueError(f"the ceilings leave only {high.sum()} of {total} rows: {most}")
    return low, high
