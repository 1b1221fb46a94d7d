"""What a step's new rows share with the benchmarks, and with the datasets that came before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from adaptinf.data.images import BadImage, inspect_image, locate
from adaptinf.data.overlap import Prints, Shared, Texts, image_key, shared, told
from adaptinf.data.pool import stream_pool
from adaptinf.evaluation.benchmarks import Benchmark
from stages.context import Context, Step
from stages.work import Counts, Progress, Work

VERSION = 1

FILE = "overlap.json"


def overlap_works(
    context: Context, step: Step, ingest: Work, earlier: Sequence[tuple[Step, Work]]
) -> tuple[Work, ...]:
    """What a step's rows share, one work for each benchmark and one for the datasets before.

    ``earlier`` are the steps before, with their ingesting.
    """
    rows = _Rows()
    works = []
    for benchmark in context.benchmarks:
        works.append(
            _work(
                step,
                ingest,
                f"benchmarks/{benchmark.name}",
                {"questions": context.benchmark_inputs(benchmark)["questions"]},
                {"limit": context.recipe.evaluate.limit},
                partial(_asked_before, context, step, ingest, benchmark, rows),
            )
        )
    if earlier:
        before = {f"ingest:{other.name}": work.fingerprint for other, work in earlier}
        perform = partial(_seen_before, step, ingest, earlier, rows)
        others = [work.folder for _, work in earlier]
        works.append(_work(step, ingest, "datasets", before, {}, perform, others))
    if works:
        works[-1] = replace(works[-1], perform=partial(_last, works[-1].perform, rows))
    return tuple(works)


def _last(
    perform: Callable[[Path, Progress], Counts], rows: _Rows, folder: Path, progress: Progress
) -> Counts:
    """The last work of a step, after which nobody asks for its rows."""
    counts = perform(folder, progress)
    rows.release()
    return counts


def _work(
    step: Step,
    ingest: Work,
    place: str,
    inputs: Mapping[str, str],
    settings: Mapping[str, Any],
    perform: Callable[[Path, Progress], Counts],
    others: Sequence[Path] = (),
) -> Work:
    return Work(
        step=step.name,
        stage="overlap",
        version=VERSION,
        settings=settings,
        inputs={"ingest": ingest.fingerprint, **inputs},
        folder=ingest.folder.parent / "overlap" / place,
        perform=perform,
        reads=(ingest.folder, *others),
    )


@dataclass(slots=True)
class _Rows:
    """The prints of the rows that one step brought: those asked for last, which come again."""

    _held: tuple[Path, Prints] | None = None

    def of(self, step: Step, ingest: Work) -> Prints:
        """The prints of a step's rows."""
        if self._held is None or self._held[0] != ingest.folder:
            self._held = None  # before the next ones come
            self._held = ingest.folder, _rows(step, ingest)
        return self._held[1]

    def release(self) -> None:
        """Let go of them: they may be large."""
        self._held = None


def _asked_before(
    context: Context,
    step: Step,
    ingest: Work,
    benchmark: Benchmark,
    rows: _Rows,
    folder: Path,
    progress: Progress,
) -> Counts:
    """Questions of a benchmark that the rows have."""
    found = {benchmark.name: shared(_questions(context, benchmark), rows.of(step, ingest))}
    return _write(folder, found, progress, "questions of")


def _seen_before(
    step: Step,
    ingest: Work,
    earlier: Sequence[tuple[Step, Work]],
    rows: _Rows,
    folder: Path,
    progress: Progress,
) -> Counts:
    """Rows that earlier datasets have."""
    new = rows.of(step, ingest)
    found = {other.label: shared(new, _rows(other, work)) for other, work in earlier}
    return _write(folder, found, progress, "rows are in")


def _write(folder: Path, found: Mapping[str, Shared], progress: Progress, kind: str) -> Counts:
    (folder / FILE).write_text(json.dumps(told(found), indent=1) + "\n")
    seen = {name: one.near for name, one in found.items() if one.near}
    if seen:
        listed = ", ".join(f"{count:,} {kind} {name}" for name, count in seen.items())
        progress.note(f"seen before: {listed}")
    number = max((one.rows for one in found.values()), default=0)
    return Counts(number, number)


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
    def key(name: str) -> int | None:
        try:
            file = locate(benchmark.images, name).resolve()
            if file not in context.image_keys:
                info = inspect_image(file)
                context.image_keys[file] = image_key(info.digest, info.look)
        except BadImage:  # the evaluation tells of it
            return None
        return context.image_keys[file]

    return Prints.of(
        Texts("", [question.text], [k for k in map(key, question.images) if k is not None])
        for question in context.questions(benchmark)
    )
