"""A window on the selection: each cluster with rows that were kept and left out, and a map."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.data.pool import PoolTable, places, read_pool
from adaptinf.files import write_atomically
from adaptinf.report.findings import Findings, Selection, read_findings
from adaptinf.report.gallery import Tile, pool_tile
from adaptinf.report.rendering import render
from selection.centroids import assign

TILES, TILES_IN_ALL = 8, 2_000
"""Rows of a cluster that are shown kept, and as many left out; and all of them together."""

DOTS = 1_200
"""Rows of a step on the map, and rows that its axes are found from."""

LOOKED = 20_000
"""Rows of a step that are brought to clusters; of a larger pool they are spread over it."""

SKILLS = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as a tile; ``skill`` is what the dataset calls it, None where it says nothing."""

    tile: Tile
    kept: bool
    skill: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """A cluster, or a dataset where there are none, with some of its rows; clusters have a hue."""

    name: str
    size: int
    kept: int
    scorer: str | None
    rows: tuple[Shown, ...]
    hue: int | None


@dataclass(frozen=True, slots=True)
class Dot:
    """A row on the map, from 0 to 1 across and down."""

    x: float
    y: float
    cluster: int
    kept: bool
    dataset: str
    skill: str | None

    @property
    def hue(self) -> int:
        """Of its cluster."""
        return _hue(self.cluster)


def _hue(cluster: int) -> int:
    """In degrees; those of clusters lie a golden angle apart."""
    return int(cluster * 137.508) % 360


@dataclass(frozen=True, slots=True)
class StepAtlas:
    """One step: its groups, and the map with the part of the spread that each axis has."""

    name: str
    selection: Selection
    groups: tuple[Group, ...]
    dots: tuple[Dot, ...]
    spread: tuple[float, float]


def write_atlas(run: Path, out: Path) -> Path:
    """Write the page of a run into a file.

    Raises:
        UserError: the folder holds no matrix, or a file that no run writes.
    """
    write_atomically(out, build_atlas(run).encode(errors="replace"))
    return out


def build_atlas(run: Path) -> str:
    """The page as one HTML text that fetches nothing and runs no script; see ``write_atlas``."""
    findings = read_findings(run)
    known = [step for step in findings.steps if step in findings.selections]
    each = max(1, min(TILES, TILES_IN_ALL // max(1, 40 * len(known))))
    steps = [step for step in (_step(findings, name, each) for name in known) if step is not None]
    rows = [row for step in steps for group in step.groups for row in group.rows]
    skills = Counter(row.skill for row in rows if row.skill)
    return render(
        "atlas.html.j2",
        name=run.resolve().name,
        steps=steps,
        datasets=list(dict.fromkeys(row.tile.dataset for row in rows)),
        skills=[skill for skill, _ in skills.most_common(SKILLS)],
    )


def _step(findings: Findings, name: str, each: int) -> StepAtlas | None:
    folder = findings.folder / "steps" / name
    chosen, file = folder / "select" / "selection.parquet", folder / "ingest" / "pool.parquet"
    if not (chosen.is_file() and file.is_file()):
        return None
    pool, selection = read_pool(file), findings.selections[name]
    table = pq.read_table(chosen, columns=["uid", "cluster"])
    kept = places(table["uid"].to_pylist(), pool.uids)
    looked = _Looked.at(folder, _kind(findings.recipe), pool, kept)
    labels = dict(zip(looked.rows.tolist(), looked.labels.tolist(), strict=True))
    pairs = zip(kept.tolist(), table["cluster"].to_pylist(), strict=True)
    labels |= {row: cluster for row, cluster in pairs if cluster is not None}
    groups = _groups(findings, pool, selection, labels, frozenset(kept.tolist()), each)
    dots = _dots(pool, looked, frozenset(kept.tolist()))
    return StepAtlas(name, selection, groups, dots, looked.spread)


def _kind(recipe: Mapping[str, Any]) -> str:
    return str((recipe.get("select") or {}).get("features", "gradients"))


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """Rows of the pool [n] with their clusters (-1: none), and places on a map [n, 2]."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    map: NDArray[np.float64]
    spread: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def at(cls, step: Path, kind: str, pool: PoolTable, kept: NDArray[np.int64]) -> _Looked:
        """Those of a step, as far as it has features; some of a large pool and all that were kept.

        The axes of the map are the first two principal components of units, found from some rows.
        """
        file = step / "select" / "centroids.npy"
        if not (step / "featurize" / "DONE").is_file() or not file.is_file():
            none = np.zeros(0, dtype=np.int64)
            return cls(none, none, np.zeros((0, 2)))
        from sklearn.decomposition import PCA

        from adaptinf.features.store import load_features, load_scores

        at = places(load_scores(step / "featurize")["uid"].to_pylist(), pool.uids)
        some = np.linspace(0, len(at) - 1, min(len(at), LOOKED)).astype(np.int64)
        some = np.union1d(some, np.flatnonzero(np.isin(at, kept)))
        vectors = np.asarray(load_features(step / "featurize", kind)[some], dtype=np.float32)
        labels = assign(vectors, np.load(file, allow_pickle=False)).labels
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norms > 0, norms, 1)
        fitted = PCA(2, random_state=0).fit(vectors[:: max(1, len(vectors) // DOTS)])
        first, second = (float(part) for part in fitted.explained_variance_ratio_)
        return cls(at[some], labels, fitted.transform(vectors), (100 * first, 100 * second))


def _groups(
    findings: Findings,
    pool: PoolTable,
    selection: Selection,
    labels: Mapping[int, int],
    kept: frozenset[int],
    each: int,
) -> tuple[Group, ...]:
    """The clusters in their order, or datasets; their rows are spread over the pool."""
    datasets = pool.strings("dataset")
    members: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    clusters = {cluster.name: cluster for cluster in selection.clusters}
    for row in sorted(labels) if clusters else range(len(pool)):
        name = str(labels[row]) if clusters else datasets[row]
        members[name][row not in kept].append(row)
    skills, found = pool.strings("skill"), []
    for name in clusters or members:
        inside, outside = members[name]
        rows = tuple(
            Shown(pool_tile(findings.image_roots, pool.sample(row)), row in kept, skills[row])
            for row in (*_spread(inside, each), *_spread(outside, each))
        )
        known = clusters.get(name)
        size = known.size if known else len(inside) + len(outside)
        scorer = known.scorer if known else None
        hue = _hue(int(name)) if known else None
        found.append(Group(name, size, len(inside), scorer, rows, hue))
    return tuple(found)


def _spread(rows: Sequence[int], most: int) -> list[int]:
    if len(rows) <= most:
        return list(rows)
    return [rows[len(rows) * place // most] for place in range(most)]


def _dots(pool: PoolTable, looked: _Looked, kept: frozenset[int]) -> tuple[Dot, ...]:
    """Those that were left out first, so that those that were kept lie on top."""
    if not len(looked.rows):
        return ()
    low, high = looked.map.min(0), looked.map.max(0)
    unit = (looked.map - low) / np.where(high > low, high - low, 1)
    datasets, skills = pool.strings("dataset"), pool.strings("skill")
    inside = [place for place, row in enumerate(looked.rows.tolist()) if row in kept]
    outside = [place for place, row in enumerate(looked.rows.tolist()) if row not in kept]
    shown = [*_spread(outside, DOTS - min(len(inside), DOTS // 2)), *_spread(inside, DOTS // 2)]
    return tuple(
        Dot(
            x=float(unit[place, 0]),
            y=1 - float(unit[place, 1]),
            cluster=int(looked.labels[place]),
            kept=int(looked.rows[place]) in kept,
            dataset=datasets[int(looked.rows[place])],
            skill=skills[int(looked.rows[place])],
        )
        for place in shown
    )
