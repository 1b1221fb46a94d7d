"""What a step's new rows share with the benchmarks, and with the datasets that came before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from adaptinf.data.images import BadImage, inspect_image, locate
from adaptinf.data.overlap import Prints, Texts, image_key, shared, told
from adaptinf.data.pool import stream_pool
from adaptinf.evaluation.benchmarks import Benchmark
from stages.context import Context, Step
from stages.work import Counts, Progress, Work, digest_of

VERSION = 1

FILE = "overlap.json"


def overlap_work(
    context: Context, step: Step, ingest: Work, earlier: Sequence[tuple[Step, Work]]
) -> Work:
    """The overlap of a step's rows; its folder goes by the benchmarks that it is measured against.

    So a benchmark that is added later finds the rows of all steps anew. ``earlier`` are the steps
    before, with their ingesting.
    """
    questions = {b.name: context.file_digest(b.questions) for b in context.benchmarks}
    return Work(
        step=step.name,
        stage="overlap",
        version=VERSION,
        settings={},
        inputs={
            "ingest": ingest.fingerprint,
            **{f"benchmark:{name}": digest for name, digest in questions.items()},
            **{f"ingest:{other.name}": work.fingerprint for other, work in earlier},
        },
        folder=ingest.folder.parent / "overlap" / digest_of(questions)[:12],
        perform=partial(_overlap, context, step, ingest, earlier),
    )


def _overlap(
    context: Context,
    step: Step,
    ingest: Work,
    earlier: Sequence[tuple[Step, Work]],
    folder: Path,
    progress: Progress,
) -> Counts:
    new = _rows(step, ingest)
    asked = {b.name: shared(_questions(context, b), new) for b in context.benchmarks}
    others = {other.label: shared(new, _rows(other, work)) for other, work in earlier}
    found = {"benchmarks": told(asked), "datasets": told(others)}
    (folder / FILE).write_text(json.dumps(found, indent=1) + "\n")
    progress.note(_note(asked, others))
    return Counts(new.rows, new.rows)


def _note(asked: Mapping[str, object], others: Mapping[str, object]) -> str:
    def listed(found: Mapping[str, object], kind: str) -> list[str]:
        numbers = {name: getattr(one, "near", 0) for name, one in found.items()}
        return [f"{count:,} {kind} {name}" for name, count in numbers.items() if count]

    parts = listed(asked, "questions of") + listed(others, "rows of it are in")
    return f"seen before: {', '.join(parts)}" if parts else ""


def _rows(step: Step, ingest: Work) -> Prints:
    """The rows that came with a step, pruned later or not."""
    images = pq.read_table(ingest.folder / "images.parquet")
    names, digests, looks = (images[name].to_pylist() for name in ("name", "digest", "look"))
    keys = dict(zip(names, map(image_key, digests, looks), strict=True))

    def rows() -> Iterator[Texts]:
        for table in stream_pool(ingest.folder / "pool.parquet"):
            came = table.filter(pc.field("arrived") == step.index)
            columns = [came[name].to_pylist() for name in ("digest", "turns", "images")]
            for digest, turns, pictures in zip(*columns, strict=True):
                texts = [turn["text"] for turn in turns]
                yield Texts(digest, texts, [keys[name] for name in pictures])

    return Prints.of(rows())


def _questions(context: Context, benchmark: Benchmark) -> Prints:
    known: dict[str, int | None] = {}

    def key(name: str) -> int | None:
        if name not in known:
            try:
                info = inspect_image(locate(benchmark.images, name))
                known[name] = image_key(info.digest, info.look)
            except BadImage:  # the evaluation tells of it
                known[name] = None
        return known[name]

    return Prints.of(
        Texts("", [question.text], [k for k in map(key, question.images) if k is not None])
        for question in context.questions(benchmark)
    )
