"""Decide which rows the next step's pool starts from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.data.pool import PoolTable, read_pool, write_pool
from adaptinf.features.store import load_embeddings, load_scores
from selection import Pool, prune
from stages.context import Context, Step
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 2

PRUNED_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("cluster", pa.int32()),
        ("nearest", pa.string()),
        ("similarity", pa.float64()),
    ]
)


def prune_work(context: Context, step: Step, ingest: Work, featurize: Work | None) -> Work:
    """Permanent pruning to the pool budget by redundancy; without a budget everything is kept."""
    recipe = context.recipe
    budget = recipe.pool_budget
    inputs = {"ingest": ingest.fingerprint}
    if budget is not None and featurize:
        inputs["featurize"] = featurize.fingerprint
    return Work(
        step=step.name,
        stage="prune",
        version=VERSION,
        settings={"pool_budget": budget, "seed": recipe.seed if budget is not None else None},
        inputs=inputs,
        folder=context.run / "steps" / step.name / "prune",
        perform=partial(_perform, context, step, ingest, featurize),
        reads=tuple(work.folder for work in (ingest, featurize) if work),
    )


def _perform(
    context: Context,
    step: Step,
    ingest: Work,
    featurize: Work | None,
    folder: Path,
    progress: Progress,
) -> Counts:
    budget, seed = context.recipe.pool_budget, context.recipe.seed
    pool = read_pool(ingest.folder / "pool.parquet")
    progress.total(len(pool))
    pruned = PRUNED_SCHEMA.empty_table()
    if budget is not None and featurize is not None and len(pool) > budget:
        pruned = _prune(pool, featurize, budget, derived_seed(seed, step.index, "prune"))
    gone = set(pruned["uid"].to_pylist())
    kept = pool.take([i for i, uid in enumerate(pool.uids) if uid not in gone])
    write_pool(folder / "pool.parquet", kept)
    pq.write_table(pruned.combine_chunks(), folder / "pruned.parquet")
    progress.advance(len(pool))
    beyond = pruned["cluster"].null_count
    reasons = {"redundant": len(gone) - beyond, "never-scored": beyond}
    return Counts(len(pool), len(kept), {name: n for name, n in reasons.items() if n})


def _prune(pool: PoolTable, featurize: Work, budget: int, seed: int) -> pa.Table:
    """The rows that go: redundant ones, and of those never scored a random part.

    The budget is shared out by their numbers, so that rows beyond ``featurize.max_rows`` neither
    push scored rows out nor stay for ever.
    """
    uids: list[str] = load_scores(featurize.folder)["uid"].to_pylist()
    known = set(uids)
    unscored = [uid for uid in pool.uids if uid not in known]
    share = round(budget * len(uids) / len(pool))
    scored = Pool(uids, embeddings=load_embeddings(featurize.folder))
    table = prune(scored, share, seed=seed).table
    nearest = [None if n is None else uids[n] for n in table["nearest"].to_pylist()]
    redundant = pa.table(
        {
            "uid": table["id"],
            "cluster": table["cluster"],
            "nearest": pa.array(nearest, pa.string()),
            "similarity": table["similarity"],
        }
    ).cast(PRUNED_SCHEMA)
    drawn = np.random.default_rng(seed).permutation(len(unscored))[budget - share :]
    rest = [{"uid": unscored[i]} for i in sorted(drawn)]
    return pa.concat_tables([redundant, pa.Table.from_pylist(rest, schema=PRUNED_SCHEMA)])
