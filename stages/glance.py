"""A cheap first look at the whole pool, that chooses the rows whose features are computed.

Only where ``featurize.max_rows`` caps them. A row is looked at once in its life, with the untouched
base model, so that its look never grows stale; ``adaptinf.features.glance`` says what is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.data.pool import PoolTable, places, read_pool
from adaptinf.features.glances import GlanceStore, glanced_rows
from selection import Pool, select
from stages.batches import Positions, pool_batches
from stages.context import Context, Step
from stages.donors import find_donor
from stages.passes import PoolPass, filled_by_ranks
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 2
CANDIDATES = "candidates.parquet"


def glance_work(context: Context, step: Step, ingest: Work, before: Work | None) -> Work:
    """The first look at a step's pool, or at those of its rows that ``before`` has not seen."""
    recipe = context.recipe
    inputs = {"ingest": ingest.fingerprint, "model": context.model_fingerprint}
    if before:
        inputs["glance"] = before.fingerprint
    settings = {
        "max_rows": recipe.most_scored,
        "dim": recipe.featurize.dim,
        "batch_tokens": recipe.featurize.batch_tokens,
        "max_length": recipe.data.max_length,
        "seed": recipe.seed,
    }
    folder = context.run / "steps" / step.name / "glance"
    donor = partial(find_donor, folder, VERSION, settings, inputs)
    return Work(
        step=step.name,
        stage="glance",
        version=VERSION,
        settings=settings,
        inputs=inputs,
        folder=folder,
        shared=True,
        perform=partial(_glance, context, step, ingest, before, donor),
        reads=tuple(work.folder for work in (ingest, before) if work),
    )


def candidates_of(glance: Work | None, pool: PoolTable) -> Positions:
    """Positions of the rows that get features: those chosen, or all where nothing was chosen."""
    if glance is None:
        return np.arange(len(pool))
    chosen = set(pq.read_table(glance.folder / CANDIDATES)["uid"].to_pylist())
    return np.array([i for i, uid in enumerate(pool.uids) if uid in chosen], dtype=np.int64)


def _glance(
    context: Context,
    step: Step,
    ingest: Work,
    before: Work | None,
    donor: Callable[[], Path | None],
    folder: Path,
    progress: Progress,
) -> Counts:
    pool = read_pool(ingest.folder / "pool.parquet")
    uids = pool.uids
    most = context.recipe.most_scored or len(pool)
    chosen = np.arange(len(pool))
    store = None
    if len(pool) > most:
        sources = [before.folder if before else None, donor()]
        store = _looked(context, pool, sources, folder, progress)
    if context.ranks.leads:
        if store:
            seed = context.recipe.seed
            step_seed = derived_seed(seed, step.index, "glance")
            chosen = spread(uids, store.vectors, most, step_seed, seed)
        table = pa.table({"uid": pa.array([uids[i] for i in chosen], pa.string())})
        pq.write_table(table, folder / CANDIDATES)
        if store:
            store.finish(uids)
    left = len(pool) - len(chosen)
    return Counts(len(pool), len(chosen), {"beyond-max-rows": left} if left else {})


def spread(
    uids: list[str], vectors: NDArray[np.float16], most: int, seed: int, draw_seed: int
) -> Positions:
    """``most`` rows of the clusters of their vectors, of each in proportion to its size.

    Not evenly: it is the features' part to say what is redundant, and skills that look alike at a
    glance would share one cluster's part. Within a cluster those of the lowest draws. A row keeps
    its draw for life, so that mostly the same old rows are candidates again, and their features
    need not be computed anew.
    """
    draws = [hashlib.sha256(f"{draw_seed}/{uid}".encode()).digest()[:6] for uid in uids]
    scores = {"draw": np.array([int.from_bytes(draw) for draw in draws], dtype=np.float64)}
    pool = Pool(uids, features=vectors, scores=scores)
    chosen = select(pool, most, "adapt-inf", seed, scorer="draw", sampling="bottom", budgets="size")
    return chosen.indices


def _looked(
    context: Context,
    pool: PoolTable,
    sources: Sequence[Path | None],
    folder: Path,
    progress: Progress,
) -> GlanceStore:
    """The first looks of all rows, copied from the first of the ``sources`` that has them."""
    from adaptinf.features.glance import Glance

    settings, seed = context.recipe.featurize, context.recipe.seed
    new = np.ones(len(pool), dtype=bool)
    copied: list[tuple[Path, Positions]] = []
    for source in (source for source in sources if source):
        known = np.where(new, places(pool.uids, glanced_rows(source)), -1)
        new &= known < 0
        copied += [(source, known)] if (known >= 0).any() else []
    rows = np.flatnonzero(new)
    batches = [rows[batch] for batch in pool_batches(pool, rows, settings.batch_tokens)]
    with context.model.bare() as model:
        glance = Glance(model, settings.dim, derived_seed(seed, "glance projection"))
        looks = PoolPass(
            context, pool, batches, lambda batch: glance(batch).numpy(), np.concatenate
        )
        store = filled_by_ranks(
            context.ranks,
            folder,
            lambda place: GlanceStore(place, len(pool), glance.width, batches),
            lambda part, pending: looks.fill(part, pending, progress),
        )
    for source, known in copied if context.ranks.leads else ():
        store.rows_from(source, known)
    return store
