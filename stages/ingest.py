"""Bring a task's dataset into the pool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data.ingest import ingest
from adaptinf.data.pool import PoolTable, read_pool, write_dropped, write_pool
from stages.context import Context, Step
from stages.work import Counts, Progress, Work

VERSION = 1


def ingest_work(context: Context, step: Step, pruned: list[Work]) -> Work:
    """The pool of this step: what the last pruning kept, and the new rows behind it.

    ``pruned`` are the pruning stages of all steps before: what they gave up never comes back.
    """
    recipe = context.recipe
    task = recipe.tasks[step.index - 1]
    source = context.sources[step.label]

    return Work(
        step=step.name,
        stage="ingest",
        version=VERSION,
        settings={
            "name": task.label,
            "format": source.format,
            "licence": source.licence,
            "limit": task.limit,
            "max_length": context.recipe.data.max_length,
        },
        inputs={
            "annotations": ",".join(context.source_digests(step.label)),
            "processor": context.model_fingerprint,
            **({"prune": pruned[-1].fingerprint} if pruned else {}),
        },
        folder=context.run / "steps" / step.name / "ingest",
        perform=partial(_ingest, context, step, pruned),
    )


def _ingest(
    context: Context, step: Step, pruned: Sequence[Work], folder: Path, progress: Progress
) -> Counts:
    old = read_pool(pruned[-1].folder / "pool.parquet") if pruned else PoolTable.empty()
    seen = 0

    def read(rows: int) -> None:
        nonlocal seen
        progress.advance(rows - seen)
        seen = rows

    result = ingest(
        context.sources[step.label],
        old,
        retired={uid for work in pruned for uid in _uids(work.folder / "pruned.parquet")},
        encoder=context.encoder,
        arrived=step.index,
        media=context.media(step.label),
        limit=context.recipe.tasks[step.index - 1].limit,
        progress=read,
    )
    write_pool(folder / "pool.parquet", result.pool)
    write_dropped(folder / "dropped.parquet", result.dropped)
    counts = result.counts
    told = {"rows_in_pool_before": len(old), "shortened": counts.shortened}
    (folder / "summary.json").write_text(json.dumps(told, indent=1) + "\n")
    progress.note(_note(counts.dropped, counts.shortened))
    return Counts(counts.rows_in, counts.kept, counts.dropped)


def _note(dropped: Mapping[str, int], shortened: int) -> str:
    parts = [f"{number} {reason}" for reason, number in dropped.items()]
    told = [f"dropped {', '.join(parts)}"] if parts else []
    return "; ".join(told + ([f"{shortened} cut to the longest length"] if shortened else []))


def _uids(file: Path) -> list[str]:
    uids: list[str] = pq.read_table(file, columns=["uid"])["uid"].to_pylist()
    return uids
