"""Bring a task's dataset into the pool."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data import ingest, reasons
from adaptinf.data.pool import (
    PoolBuilder,
    PoolTable,
    TableWriter,
    read_pool,
    stream_pool,
    write_images,
    write_remarks,
)
from adaptinf.data.rows import Remark
from adaptinf.errors import UserError
from stages.aside import aside
from stages.context import Context, Step
from stages.record import digest_of, read_record
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
    settings = {
        "name": task.label,
        "format": task.format or source.format,
        "licence": source.licence,
        "limit": task.limit,
        "max_length": context.recipe.data.max_length,
        **kept_out,
    }
    folder = context.run / "steps" / step.name / "ingest"
    return Work(
        step=step.name,
        stage="ingest",
        version=VERSION,
        settings=settings,
        inputs={
            "annotations": ",".join(context.source_digests(step.label)),
            "processor": context.model_fingerprint,
            **({"prune": pruned[-1].fingerprint} if pruned else {}),
        },
        folder=folder,
        perform=partial(_ingest, context, step, pruned, partial(_last_version, folder, settings)),
        reads=tuple(work.folder for work in pruned),
    )


def _ingest(
    context: Context,
    step: Step,
    pruned: Sequence[Work],
    last_version: Callable[[], PoolTable],
    folder: Path,
    progress: Progress,
) -> Counts:
    limit = context.recipe.tasks[step.index - 1].limit
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
            limit=limit,
            progress=read,
            strict=context.recipe.data.strict,
            admission=context.admission(step.label),
        )
    if not (known or result.counts.kept):
        raise _nothing_let_in(context, step, result.counts)
    if context.admission(step.label).withdrawn and context.sources[step.label].embedded:
        _keep_only(result.images, context.media(step.label))
    counts = result.counts
    gone = []
    if limit is None or counts.kept < limit:  # else the file was not read to its end
        now = {*_uids(folder / "pool.parquet"), *(remark.detail for remark in result.dropped)}
        gone = _gone(last_version(), step, now)
    _write(folder, result, gone, len(known))
    dropped = {**counts.dropped, **({reasons.GONE: len(gone)} if gone else {})}
    progress.note(_note(replace(counts, dropped=dropped)))
    return Counts(counts.rows_in + len(gone), counts.kept, dropped)


def _write(folder: Path, result: ingest.Ingested, gone: Sequence[Remark], before: int) -> None:
    """All but the pool."""
    write_remarks(folder / "dropped.parquet", [*result.dropped, *gone])
    write_remarks(folder / "noted.parquet", result.noted)
    write_images(folder / "images.parquet", result.images)
    told = {
        "rows_in_pool_before": before,
        "shortened": result.counts.shortened,
        "noted": result.counts.noted,
    }
    (folder / "summary.json").write_text(json.dumps(told, indent=1) + "\n")


def _nothing_let_in(context: Context, step: Step, counts: ingest.Counts) -> UserError:
    return UserError(
        f"no row of {step.label} may be trained on, and no older row is there",
        where=str(context.sources[step.label].annotations),
        seen=_listed(counts.dropped),
        hint="leave this task out, put it behind another one, or let more in by data.licences",
    )


def _last_version(folder: Path, settings: Mapping[str, object]) -> PoolTable:
    """The pool made of an earlier version of the dataset, read in the same way; else an empty one.

    It stands beside the stage's folder while that is made anew.
    """
    record = read_record(aside(folder))
    if record is None or record["settings"] != json.loads(json.dumps(settings)):
        return PoolTable.empty()
    return read_pool(aside(folder) / "pool.parquet")


def _gone(before: PoolTable, step: Step, now: Collection[str]) -> list[Remark]:
    """What is to be said of a dataset's rows that its new version does not have."""
    ours = zip(
        before.uids, before.strings("source_id"), before.numbers("arrived").tolist(), strict=True
    )
    return [
        Remark(ident, step.label, -1, reasons.GONE, uid)
        for uid, ident, arrived in ours
        if arrived == step.index and uid not in now
    ]


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
