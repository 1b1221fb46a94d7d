"""Select the rows that the next training uses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.data.pool import PoolTable, read_pool
from adaptinf.errors import UserError
from selection import SCORES, Pool, select
from selection.pool import Positions
from stages.context import Context, Step
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 1

FEATURELESS = frozenset({"random", "sequential", "multitask"})
"""Methods that look at no features: for them the feature pass is left out."""


def select_work(context: Context, step: Step, ingest: Work, featurize: Work | None) -> Work:
    """Selection out of the step's pool; needs features unless the method is featureless."""
    recipe = context.recipe
    inputs = {"ingest": ingest.fingerprint}
    if featurize:
        inputs["featurize"] = featurize.fingerprint
    return Work(
        step=step.name,
        stage="select",
        version=VERSION,
        settings={**recipe.select.model_dump(mode="json"), "seed": recipe.seed},
        inputs=inputs,
        folder=context.run / "steps" / step.name / "select",
        perform=partial(_select, context, step, ingest, featurize),
    )


def _select(
    context: Context,
    step: Step,
    ingest: Work,
    featurize: Work | None,
    folder: Path,
    progress: Progress,
) -> Counts:
    recipe = context.recipe
    pool = read_pool(ingest.folder / "pool.parquet")
    progress.total(len(pool))
    candidates = _candidates(pool, featurize, recipe.select.features)
    try:
        chosen = select(
            candidates.pool,
            recipe.select.budget,
            recipe.select.method,
            seed=derived_seed(recipe.seed, step.index, "select"),
            clusters=recipe.select.clusters,
        )
    except ValueError as error:
        raise UserError(str(error), where="select") from error
    rows = pool.take(candidates.positions[chosen.indices])
    summary = chosen.summary | {"not_scored": len(pool) - len(candidates.positions)}
    for note in summary["notes"]:
        progress.note(note)
    pq.write_table(_selection(rows, chosen.table), folder / "selection.parquet")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    progress.advance(len(pool))
    left = len(pool) - len(rows)
    return Counts(len(pool), len(rows), {"not-selected": left} if left else {})


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The rows that can be selected, as the selection library takes them, and where they are."""

    pool: Pool
    positions: Positions


def _candidates(pool: PoolTable, featurize: Work | None, kind: str) -> _Candidates:
    if featurize is None:
        return _Candidates(_pool_of(pool), np.arange(len(pool)))
    from adaptinf.features.store import load_embeddings, load_gradients, load_scores

    table = load_scores(featurize.folder)
    place = {uid: position for position, uid in enumerate(pool.uids)}
    positions = np.array([place[uid] for uid in table["uid"].to_pylist()], dtype=np.int64)
    embeddings = load_embeddings(featurize.folder)
    features = load_gradients(featurize.folder) if kind != "embeddings" else embeddings
    if kind == "both":
        features = np.concatenate([_unit(features), _unit(embeddings)], axis=1)
    rows = pool if len(positions) == len(pool) else pool.take(positions)
    scores = {name: table[name].to_numpy() for name in SCORES}
    described = _pool_of(rows, features=features, embeddings=embeddings, scores=scores)
    return _Candidates(described, positions)


def _pool_of(rows: PoolTable, **columns: Any) -> Pool:
    groups, arrival = rows.strings("dataset"), rows.numbers("arrived")
    return Pool(rows.uids, groups=groups, arrival=arrival, **columns)


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(norms > 0, norms, 1), dtype=np.float16)


def _selection(rows: PoolTable, table: pa.Table) -> pa.Table:
    """``selection.parquet``: who was chosen, out of which cluster, by which score."""
    described = {name: rows.table[name] for name in ("uid", "dataset", "task", "skill", "arrived")}
    reasons = {name: table[name] for name in ("cluster", "scorer", "score", "stratum")}
    return pa.table(described | reasons).combine_chunks()
