"""A dataset's rows into the pool: read, look at the images, check, measure, add."""

from __future__ import annotations

import gc
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from adaptinf.data import readers, reasons
from adaptinf.data.admission import EVERY_ROW, Admission
from adaptinf.data.chat import RenderError
from adaptinf.data.checks import check_turns, make_sample
from adaptinf.data.encoder import Encoder, Measured
from adaptinf.data.images import BadImage, ImageInfo, inspect_image, locate
from adaptinf.data.pool import PoolBuilder, PoolRow
from adaptinf.data.rows import RawRow, Remark, RowProblem, printable
from adaptinf.data.sample import Sample
from adaptinf.data.source import Source
from adaptinf.errors import UserError

_ROWS_PER_CHUNK = 256

_UNMEASURED = Measured(0, "whole")

Item = TypeVar("Item")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows in, kept, and dropped by reason.

    ``shortened`` of the kept ones lost their tail; ``noted`` counts what else is odd about them.
    """

    rows_in: int
    kept: int
    dropped: dict[str, int]
    shortened: int
    noted: dict[str, int]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What is said of rows, the images of those that are kept, by name, and the counts."""

    dropped: list[Remark]
    noted: list[Remark]
    images: dict[str, ImageInfo]
    counts: Counts


def ingest(
    source: Source,
    builder: PoolBuilder,
    encoder: Encoder | None,
    arrived: int,
    media: Path,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    strict: bool = False,
    admission: Admission = EVERY_ROW,
) -> Ingested:
    """Hand the rows of ``source`` to ``builder``, in file order, as those of step ``arrived``.

    Without an ``encoder`` lengths are not measured. ``limit`` ends the reading after that many kept
    rows; ``progress`` is called with the number of rows read so far. Every row that does not enter
    is in ``dropped`` with its reason. Raises ``UserError`` if not one row of the source can be
    used, or, when ``strict``, at the first that cannot; rows that repeat, or that ``admission``
    keeps out, are no mistake.
    """
    dropped: list[Remark] = []
    noted: list[Remark] = []
    ids: set[str] = set()
    images: dict[str, ImageInfo] = {}
    rows_in = kept = shortened = 0
    for row in _rows(source, media, encoder, admission):
        if kept == limit:
            break
        rows_in += 1
        raw = row.raw
        try:
            sample, length = _admitted(row, builder)
        except RowProblem as problem:
            if strict and problem.reason not in reasons.NO_FAULT:
                raise _stopped(source, raw, problem) from problem
            dropped.append(
                Remark(raw.source_id, source.name, raw.row, problem.reason, problem.detail)
            )
        else:
            builder.add(PoolRow(sample, arrived, length.n_tokens))
            kept += 1
            shortened += length.fits == "shortened"
            odd = (*row.notes, reasons.REPEATED_ID) if raw.source_id in ids else row.notes
            ids.add(raw.source_id)
            images.update(zip(sample.images, row.images, strict=True))
            noted += [Remark(raw.source_id, source.name, raw.row, why) for why in odd]
        if progress is not None:
            progress(rows_in)
    builder.flush()
    by_reason = _counted(dropped)
    _require_usable(source, by_reason, kept)
    counts = Counts(rows_in, kept, by_reason, shortened, _counted(noted))
    return Ingested(dropped, noted, images, counts)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A row whose turns were checked and whose images were decoded, or what was wrong with it.

    ``sample`` and ``length`` come later, when it has been measured.
    """

    raw: RawRow
    images: tuple[ImageInfo, ...] = ()
    problem: RowProblem | None = None
    sample: Sample | None = None
    length: Measured = _UNMEASURED

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the row, or about its images."""
        misnamed = any(image.misnamed for image in self.images)
        return (*self.raw.notes, reasons.MISNAMED_IMAGE) if misnamed else self.raw.notes


def _admitted(row: _Seen, builder: PoolBuilder) -> tuple[Sample, Measured]:
    if row.problem is not None:
        raise row.problem
    assert row.sample is not None
    repeats = builder.repeats(row.sample.uid)
    if repeats:
        raise RowProblem(repeats, row.sample.uid)
    if row.length.fits == "too-long":
        raise RowProblem(reasons.TOO_LONG, f"{row.length.n_tokens} tokens")
    return row.sample, row.length


def _rows(
    source: Source, media: Path, encoder: Encoder | None, admission: Admission
) -> Iterator[_Seen]:
    """Rows in order, looked at and measured ahead.

    Images decode in threads: that is most of the time, outside the GIL. Two threads measure: one
    renders, which holds the GIL, while the tokenizer of the other counts, which does not.
    """
    known: dict[str, ImageInfo] = {}
    workers = os.cpu_count() or 1

    def look(chunk: Sequence[RawRow]) -> list[_Seen]:
        return [_look(raw, source.images, known) for raw in chunk]

    def measure(chunk: Sequence[_Seen]) -> list[_Seen]:
        return _measured([_as_sample(row, source, admission) for row in chunk], encoder)

    with (
        _rare_collection(),
        ThreadPoolExecutor(workers) as lookers,
        ThreadPoolExecutor(2) as measurers,
    ):
        seen = _ahead(lookers, look, _chunks(readers.read(source, media)), workers)
        for chunk in _ahead(measurers, measure, seen, 2):
            yield from chunk


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Leave what is there already out of the search for garbage.

    Every few rows it would look through all objects of the libraries: a third of the time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _chunks(rows: Iterator[RawRow]) -> Iterator[list[RawRow]]:
    while chunk := list(islice(rows, _ROWS_PER_CHUNK)):
        yield chunk


def _ahead(
    threads: ThreadPoolExecutor, work: Callable[[Item], Done], items: Iterable[Item], most: int
) -> Iterator[Done]:
    """The ``work`` done on items, in their order, at most so many of them ahead."""
    waiting: deque[Future[Done]] = deque()
    for item in items:
        waiting.append(threads.submit(work, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _measured(rows: list[_Seen], encoder: Encoder | None) -> list[_Seen]:
    """The rows with their lengths."""
    whole = [(row.sample, row.images) for row in rows if row.sample is not None]
    if encoder is None or not whole:
        return rows
    samples, images = zip(*whole, strict=True)
    lengths = iter(encoder.lengths(samples, images))
    return [row if row.sample is None else _with_length(row, next(lengths)) for row in rows]


def _as_sample(row: _Seen, source: Source, admission: Admission) -> _Seen:
    if row.problem is not None:
        return row
    try:
        sample = make_sample(row.raw, source, [image.digest for image in row.images])
        admission.check(sample)
        return _Seen(row.raw, row.images, None, sample)
    except RowProblem as problem:
        return replace(row, problem=problem)


def _with_length(row: _Seen, length: Measured | RenderError) -> _Seen:
    if isinstance(length, RenderError):
        return replace(row, problem=RowProblem(reasons.NOT_ENCODABLE, str(length)))
    return _Seen(row.raw, row.images, None, row.sample, length)


def _look(raw: RawRow, root: Path, known: dict[str, ImageInfo]) -> _Seen:
    try:
        if raw.problem is not None:
            raise RowProblem(raw.problem, raw.detail)
        check_turns(raw.turns, len(raw.images))
        return _Seen(raw, tuple(_image(root, name, known) for name in raw.images))
    except RowProblem as problem:
        return _Seen(raw, problem=problem)


def _image(root: Path, name: str, known: dict[str, ImageInfo]) -> ImageInfo:
    if name not in known:
        try:
            known[name] = inspect_image(locate(root, name))
        except BadImage as error:
            raise RowProblem(error.reason, name) from error
    return known[name]


def _counted(remarks: Sequence[Remark]) -> dict[str, int]:
    return dict(sorted(Counter(remark.reason for remark in remarks).items()))


def _stopped(source: Source, raw: RawRow, problem: RowProblem) -> UserError:
    return UserError(
        problem.reason,
        where=f"{source.annotations}: row {raw.row} ({printable(raw.source_id)})",
        seen=problem.detail or None,
        hint="without strict, such rows are left out and counted",
    )


def _require_usable(source: Source, by_reason: dict[str, int], kept: int) -> None:
    if kept == 0 and not by_reason.keys() & reasons.NO_FAULT:
        told = ", ".join(f"{count} {reason}" for reason, count in by_reason.items())
        missing = reasons.MISSING_IMAGE in by_reason
        raise UserError(
            f"no row of {source.name} can be used",
            where=str(source.annotations),
            seen=told or "no rows",
            hint=f"image names are relative to {source.images}" if missing else "",
        )
