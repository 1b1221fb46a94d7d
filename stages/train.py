"""Train the current adapter on the selected rows."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data.pool import read_pool
from stages.context import Context, Step
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 2


def train_work(
    context: Context, step: Step, ingest: Work, select: Work, previous: Work | None
) -> Work:
    """Training that goes on from the previous step's adapter, or starts with a fresh one."""
    recipe = context.recipe
    if recipe.adapter.across_steps == "new_per_task":
        previous = None
    inputs = {"model": context.model_fingerprint, "select": select.fingerprint}
    if previous:
        inputs["adapter"] = previous.fingerprint
    ours = recipe.train.model_dump(mode="json")
    ours.pop("save_steps")  # where it may be resumed from does not change the result
    return Work(
        step=step.name,
        stage="train",
        version=VERSION,
        settings={
            **ours,
            "adapter": recipe.adapter.model_dump(mode="json"),
            "max_length": recipe.data.max_length,
            "seed": recipe.seed,
        },
        inputs=inputs,
        folder=context.run / "steps" / step.name / "train",
        perform=partial(_train, context, step, ingest, select, previous),
    )


def _train(
    context: Context,
    step: Step,
    ingest: Work,
    select: Work,
    previous: Work | None,
    folder: Path,
    progress: Progress,
) -> Counts:
    from adaptinf.adapters import learning_rates
    from adaptinf.training.trainer import TrainSettings, train_adapter

    recipe = context.recipe
    pool = read_pool(ingest.folder / "pool.parquet")
    place = {uid: position for position, uid in enumerate(pool.uids)}
    uids = pq.read_table(select.folder / "selection.parquet")["uid"].to_pylist()
    samples = [pool.sample(place[uid]) for uid in uids]
    progress.total(math.ceil(len(samples) * recipe.train.epochs))
    settings = TrainSettings(
        **recipe.train.model_dump(),
        workers=recipe.data.workers,
        report_to=recipe.tracking.report_to,
    )
    with context.adapted_model(
        previous.folder / "adapter" if previous else None, trainable=True
    ) as model:
        train_adapter(
            model,
            context.collator,
            samples,
            settings,
            folder,
            base=recipe.model.name,
            seed=derived_seed(recipe.seed, step.index, "train"),
            rates=learning_rates(model, **recipe.adapter.options),
            advance=progress.advance,
        )
    lineage = {
        "base": recipe.model.name,
        "route": recipe.adapter.route,
        "across_steps": recipe.adapter.across_steps,
        "step": step.name,
        "continues": previous.step if previous else None,
        "parent": previous.fingerprint if previous else None,
        "rows": len(samples),
    }
    (folder / "adapter" / "lineage.json").write_text(json.dumps(lineage, indent=1) + "\n")
    shutil.rmtree(folder / "checkpoints")
    return Counts(len(samples), len(samples))
