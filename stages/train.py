"""Train the current adapter on the selected rows."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data.pool import PoolTable, places, read_pool
from stages.cards import write_training_card
from stages.context import Context, Step
from stages.lineage import Lineage
from stages.rehearse import REHEARSAL
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 2


def train_work(
    context: Context,
    step: Step,
    ingest: Work,
    select: Work,
    rehearse: Work | None,
    start: Lineage,
) -> Work:
    """Training of the adapter at the top of ``start``, or of a fresh one."""
    recipe = context.recipe
    inputs = {"model": context.model_fingerprint, "select": select.fingerprint, **start.inputs}
    if rehearse:
        inputs["rehearse"] = rehearse.fingerprint
    ours = recipe.train.lasting()
    for name in ("save_steps", "keep_checkpoints"):
        ours.pop(name)  # where it may be resumed from does not change the result
    return Work(
        step=step.name,
        stage="train",
        version=VERSION,
        settings={
            **ours,
            "adapter": recipe.adapter.lasting(),
            "max_length": recipe.data.max_length,
            "seed": recipe.seed,
        },
        inputs=inputs,
        folder=context.run / "steps" / step.name / "train",
        shared=True,
        perform=partial(_train, context, step, ingest, select, rehearse, start),
        reads=(*(work.folder for work in (ingest, select, rehearse) if work), *start.folders),
    )


def _train(
    context: Context,
    step: Step,
    ingest: Work,
    select: Work,
    rehearse: Work | None,
    start: Lineage,
    folder: Path,
    progress: Progress,
) -> Counts:
    from adaptinf.adapters import learning_rates
    from adaptinf.training import Average, TrainSettings, train_adapter

    recipe = context.recipe
    pool = read_pool(ingest.folder / "pool.parquet")
    uids = pq.read_table(select.folder / "selection.parquet")["uid"].to_pylist()
    samples = pool.samples(places(uids, pool.uids))
    lengths = dict(zip(pool.uids, pool.numbers("n_tokens").tolist(), strict=True))
    made = read_pool(rehearse.folder / REHEARSAL) if rehearse else PoolTable.empty()
    samples += made.samples(range(len(made)))
    lengths |= zip(made.uids, made.numbers("n_tokens").tolist(), strict=True)
    progress.total(math.ceil(len(samples) * recipe.train.epochs))
    settings = TrainSettings(
        **recipe.train.model_dump(exclude={"group_by_length"}),
        workers=recipe.data.workers,
        report_to=recipe.tracking.report_to,
    )
    if recipe.train.deepspeed:
        # Modules that have answered questions before have other hooks than those that have not,
        # and ZeRO-3 compares what ranks pass through.
        context.model.forget()
    with context.model.adapted(start, trainable=True) as model:
        losses = train_adapter(
            model,
            context.collator,
            samples,
            settings,
            folder,
            base=recipe.model.name,
            seed=derived_seed(recipe.seed, step.index, "train"),
            rates=learning_rates(model, **recipe.adapter.options),
            ranks=context.ranks,
            average=Average(
                recipe.adapter.average, recipe.adapter.ema_decay, recipe.adapter.held_back
            ),
            lengths=lengths if recipe.train.group_by_length else None,
            advance=progress.advance,
            note=progress.note,
        )
    if recipe.train.deepspeed:
        context.model.forget()  # its weights are left in parts, or in another type of number
    if context.ranks.leads:
        lineage: dict[str, object] = {
            "base": recipe.model.name,
            "route": recipe.adapter.route,
            "across_steps": recipe.adapter.across_steps,
            "step": step.name,
            "continues": start.top.step if start.top else None,
            "parent": start.top.fingerprint if start.top else None,
            "merged": [work.step for work in start.merged],
            "average": recipe.adapter.average,
            "rows": len(samples),
            **({"rehearsed": len(made)} if rehearse else {}),
            "processor": context.preprocessing,
        }
        if losses:
            lineage["held_back_losses"] = losses
        (folder / "adapter" / "lineage.json").write_text(json.dumps(lineage, indent=1) + "\n")
        write_training_card(context, step, folder / "adapter")
        shutil.rmtree(folder / "checkpoints")
    return Counts(len(samples), len(samples))
