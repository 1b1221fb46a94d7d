"""Select the rows that the next training uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.data.pool import PoolTable, read_pool
from adaptinf.errors import UserError
from config import OldShare, Select
from selection import SCORES, Pool, Selection, names, select
from selection.centroids import Centroids
from selection.pool import Positions
from stages.context import Context, Step
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 2

CENTROIDS = "centroids.npy"

FEATURELESS = frozenset(names.FEATURELESS)
"""Methods that look at no features: for them the feature pass is left out."""


def select_work(
    context: Context, step: Step, ingest: Work, featurize: Work | None, first: Work | None
) -> Work:
    """Selection out of the step's pool; needs features unless the method is featureless.

    ``first`` is the selection of the first step, None there; its centroids are used where the
    recipe says so.
    """
    recipe = context.recipe
    settings = settings_at(recipe.select, [each.label for each in context.steps[: step.index]])
    inputs = {"ingest": ingest.fingerprint}
    if featurize:
        inputs["featurize"] = featurize.fingerprint
    earlier = first if settings.centroids == "first" else None
    if earlier:
        inputs["centroids"] = earlier.fingerprint
    return Work(
        step=step.name,
        stage="select",
        version=VERSION,
        settings={**settings.lasting(), "seed": recipe.seed},
        inputs=inputs,
        folder=context.run / "steps" / step.name / "select",
        perform=partial(
            _select,
            settings,
            ingest,
            featurize,
            earlier,
            derived_seed(recipe.seed, step.index, "select"),
        ),
        reads=tuple(work.folder for work in (ingest, featurize, earlier) if work),
    )


def settings_at(settings: Select, labels: Sequence[str]) -> Select:
    """Those settings that hold at a step, of which the ``labels`` are the tasks that have come.

    At the first step there are neither older rows nor earlier centroids, nor a choice of tasks; a
    task has a share once it is there. So a task that is appended to a recipe together with a share
    of its own leaves earlier steps as they are.
    """
    first = len(labels) == 1
    bound = () if first else labels
    return settings.model_copy(
        update={
            "centroids": "new" if first else settings.centroids,
            "old": OldShare() if first else settings.old,
            "floors": {name: settings.floors[name] for name in bound if name in settings.floors},
            "ceilings": {
                name: settings.ceilings[name] for name in bound if name in settings.ceilings
            },
        }
    )


def _select(
    settings: Select,
    ingest: Work,
    featurize: Work | None,
    earlier: Work | None,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Counts:
    pool = read_pool(ingest.folder / "pool.parquet")
    progress.total(len(pool))
    candidates = _candidates(pool, featurize, settings.features)
    centroids = np.load(earlier.folder / CENTROIDS, allow_pickle=False) if earlier else None
    try:
        chosen = _chosen(candidates.pool, settings, seed, centroids)
    except ValueError as error:
        raise UserError(str(error), where="select") from error
    rows = pool.take(candidates.positions[chosen.indices])
    summary = chosen.summary | {"not_scored": len(pool) - len(candidates.positions)}
    for note in summary["notes"]:
        progress.note(note)
    pq.write_table(selection_table(rows, chosen.table), folder / "selection.parquet")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    if chosen.centroids is not None:
        np.save(folder / CENTROIDS, chosen.centroids, allow_pickle=False)
    progress.advance(len(pool))
    left = len(pool) - len(rows)
    return Counts(len(pool), len(rows), {"not-selected": left} if left else {})


def _chosen(pool: Pool, settings: Select, seed: int, centroids: Centroids | None) -> Selection:
    old = settings.old
    return select(
        pool,
        settings.budget,
        settings.method,
        seed,
        settings.clusters,
        scorer=settings.scorer,
        budgets=settings.budgets,
        sampling=settings.sampling,
        centroids=centroids,
        floors=settings.floors,
        ceilings=settings.ceilings,
        old=None if old == OldShare() else (old.least, old.most),
        skill_floor=settings.skill_floor,
    )


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The rows that can be selected, as the selection library takes them, and where they are."""

    pool: Pool
    positions: Positions


def _candidates(pool: PoolTable, featurize: Work | None, kind: str) -> _Candidates:
    if featurize is None:
        return _Candidates(_pool_of(pool), np.arange(len(pool)))
    from adaptinf.features.store import load_embeddings, load_features, load_scores

    table = load_scores(featurize.folder)
    place = {uid: position for position, uid in enumerate(pool.uids)}
    positions = np.array([place[uid] for uid in table["uid"].to_pylist()], dtype=np.int64)
    embeddings = load_embeddings(featurize.folder)
    features = load_features(featurize.folder, kind)
    rows = pool if len(positions) == len(pool) else pool.take(positions)
    measured = {name: table[name].to_numpy() for name in SCORES}
    scores = {name: column for name, column in measured.items() if np.isfinite(column).any()}
    described = _pool_of(rows, features=features, embeddings=embeddings, scores=scores)
    return _Candidates(described, positions)


def _pool_of(rows: PoolTable, **columns: Any) -> Pool:
    groups, arrival = rows.strings("dataset"), rows.numbers("arrived")
    pairs = zip(rows.strings("skill"), groups, strict=True)
    skills = [skill or dataset for skill, dataset in pairs]
    return Pool(rows.uids, groups=groups, arrival=arrival, skills=skills, **columns)


def selection_table(rows: PoolTable, table: pa.Table) -> pa.Table:
    """``selection.parquet``: who was chosen and whose, out of which cluster, by which score."""
    told = ("uid", "dataset", "licence", "source", "task", "skill", "arrived")
    described = {name: rows.table[name] for name in told}
    reasons = {name: table[name] for name in ("cluster", "scorer", "score", "stratum")}
    return pa.table(described | reasons).combine_chunks()
