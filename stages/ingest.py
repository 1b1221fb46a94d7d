"""Bring a task's dataset into the pool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data import ingest
from adaptinf.data.pool import PoolBuilder, TableWriter, stream_pool, write_images, write_remarks
from adaptinf.errors import UserError
from stages.context import Context, Step
from stages.record import digest_of
from stages.work import Counts, Progress, Work

VERSION = 2


def ingest_work(context: Context, step: Step, pruned: list[Work]) -> Work:
    """The pool of this step: what the last pruning kept, and the new rows behind it.

    ``pruned`` are the pruning stages of all steps before: what they gave up never comes back.
    """
    recipe = context.recipe
    task = recipe.tasks[step.index - 1]
    source = context.sources[step.label]
    admission = context.admission(step.label)
    kept_out: dict[str, object] = {}
    if admission.licences is not None:
        kept_out["licences"] = sorted(admission.licences)
    if admission.withdrawn:
        kept_out["withdrawn"] = digest_of(sorted(admission.withdrawn))
    return Work(
        step=step.name,
        stage="ingest",
        version=VERSION,
        settings={
            "name": task.label,
            "format": task.format or source.format,
            "licence": source.licence,
            "limit": task.limit,
            "max_length": context.recipe.data.max_length,
            **kept_out,
        },
        inputs={
            "annotations": ",".join(context.source_digests(step.label)),
            "processor": context.model_fingerprint,
            **({"prune": pruned[-1].fingerprint} if pruned else {}),
        },
        folder=context.run / "steps" / step.name / "ingest",
        perform=partial(_ingest, context, step, pruned),
        reads=tuple(work.folder for work in pruned),
    )


def _ingest(
    context: Context, step: Step, pruned: Sequence[Work], folder: Path, progress: Progress
) -> Counts:
    old = pruned[-1].folder / "pool.parquet" if pruned else None
    seen = 0

    def read(rows: int) -> None:
        nonlocal seen
        progress.advance(rows - seen)
        seen = rows

    known = _uids(old) if old else []
    retired = {uid for work in pruned for uid in _uids(work.folder / "pruned.parquet")}
    with TableWriter(folder / "pool.parquet") as pool:
        for table in stream_pool(old) if old else ():
            pool.write(table)
        result = ingest.ingest(
            context.sources[step.label],
            PoolBuilder(pool.write, known, retired),
            encoder=context.encoder,
            arrived=step.index,
            media=context.media(step.label),
            limit=context.recipe.tasks[step.index - 1].limit,
            progress=read,
            strict=context.recipe.data.strict,
            admission=context.admission(step.label),
        )
    if not (known or result.counts.kept):
        raise UserError(
            f"no row of {step.label} may be trained on, and no older row is there",
            where=str(context.sources[step.label].annotations),
            seen=_listed(result.counts.dropped),
            hint="leave this task out, put it behind another one, or let more in by data.licences",
        )
    if context.admission(step.label).withdrawn and context.sources[step.label].embedded:
        _keep_only(result.images, context.media(step.label))
    write_remarks(folder / "dropped.parquet", result.dropped)
    write_remarks(folder / "noted.parquet", result.noted)
    write_images(folder / "images.parquet", result.images)
    counts = result.counts
    told = {
        "rows_in_pool_before": len(known),
        "shortened": counts.shortened,
        "noted": counts.noted,
    }
    (folder / "summary.json").write_text(json.dumps(told, indent=1) + "\n")
    progress.note(_note(counts))
    return Counts(counts.rows_in, counts.kept, counts.dropped)


def _keep_only(images: Mapping[str, object], media: Path) -> None:
    """Remove images that were brought out of the annotations for rows that are not kept."""
    for file in [file for file in media.rglob("*") if file.is_file()]:
        if file.relative_to(media).as_posix() not in images:
            file.unlink()


def _note(counts: ingest.Counts) -> str:
    told = [f"dropped {_listed(counts.dropped)}"] if counts.dropped else []
    told += [f"noted {_listed(counts.noted)}"] if counts.noted else []
    told += [f"{counts.shortened} cut to the longest length"] if counts.shortened else []
    return "; ".join(told)


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in numbers.items())


def _uids(file: Path) -> list[str]:
    uids: list[str] = pq.read_table(file, columns=["uid"])["uid"].to_pylist()
    return uids
