"""A dataset's rows into the pool: read, look at the images, check, measure, add."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from adaptinf.data import readers, reasons
from adaptinf.data.chat import RenderError
from adaptinf.data.checks import check_turns, make_sample
from adaptinf.data.encoder import Encoder, Fit
from adaptinf.data.images import BadImage, ImageInfo, inspect_image, locate
from adaptinf.data.pool import PoolBuilder, PoolRow, PoolTable
from adaptinf.data.rows import Dropped, RawRow, RowProblem
from adaptinf.data.source import Source
from adaptinf.errors import UserError


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows in, kept, and dropped by reason; ``shortened`` of the kept ones lost their tail."""

    rows_in: int
    kept: int
    dropped: dict[str, int]
    shortened: int


@dataclass(frozen=True, slots=True)
class Ingested:
    """The pool with the new rows at its end, the rows that stayed out, and the counts."""

    pool: PoolTable
    dropped: list[Dropped]
    counts: Counts


def ingest(
    source: Source,
    pool: PoolTable,
    retired: Collection[str],
    encoder: Encoder | None,
    arrived: int,
    media: Path,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ingested:
    """The pool after the rows of ``source`` have come, in file order, as step ``arrived``.

    ``retired`` are uids pruned earlier, which stay away. Without an ``encoder`` lengths are not
    measured. ``limit`` ends the reading after that many kept rows; ``progress`` is called with the
    number of rows read so far. Every row that does not enter is in ``dropped`` with its reason.
    Raises ``UserError`` if not one row of the source can be used.
    """
    builder = PoolBuilder(pool, retired)
    dropped: list[Dropped] = []
    rows_in = kept = shortened = 0
    for seen in _inspected(source, media):
        if kept == limit:
            break
        rows_in += 1
        try:
            admitted = _admit(seen, source, builder, encoder, arrived)
        except RowProblem as problem:
            raw = seen.raw
            dropped.append(
                Dropped(raw.source_id, source.name, raw.row, problem.reason, problem.detail)
            )
        else:
            builder.add(admitted.row)
            kept += 1
            shortened += admitted.fits == "shortened"
        if progress is not None:
            progress(rows_in)
    by_reason = dict(sorted(Counter(row.reason for row in dropped).items()))
    _require_usable(source, by_reason, kept)
    return Ingested(builder.finish(), dropped, Counts(rows_in, kept, by_reason, shortened))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A row whose turns were checked and whose images were decoded, or what was wrong with it."""

    raw: RawRow
    images: tuple[ImageInfo, ...]
    problem: RowProblem | None


@dataclass(frozen=True, slots=True)
class _Admitted:
    row: PoolRow
    fits: Fit


def _admit(
    seen: _Seen, source: Source, builder: PoolBuilder, encoder: Encoder | None, arrived: int
) -> _Admitted:
    if seen.problem is not None:
        raise seen.problem
    sample = make_sample(seen.raw, source, [image.digest for image in seen.images])
    repeats = builder.repeats(sample.uid)
    if repeats:
        raise RowProblem(repeats, sample.uid)
    if encoder is None:
        return _Admitted(PoolRow(sample, arrived), "whole")
    try:
        measured = encoder.length(sample, seen.images)
    except RenderError as error:
        raise RowProblem(reasons.NOT_ENCODABLE, str(error)) from error
    if measured.fits == "too-long":
        raise RowProblem(reasons.TOO_LONG, f"{measured.n_tokens} tokens")
    return _Admitted(PoolRow(sample, arrived, measured.n_tokens), measured.fits)


def _inspected(source: Source, media: Path) -> Iterator[_Seen]:
    """Rows in order. Images decode ahead in threads: that is most of the time, outside the GIL."""
    known: dict[str, ImageInfo] = {}
    workers = os.cpu_count() or 1
    waiting: deque[Future[_Seen]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        for raw in readers.read(source, media):
            waiting.append(threads.submit(_look, raw, source.images, known))
            if len(waiting) > 8 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _look(raw: RawRow, root: Path, known: dict[str, ImageInfo]) -> _Seen:
    try:
        if raw.problem is not None:
            raise RowProblem(raw.problem, raw.detail)
        check_turns(raw.turns, len(raw.images))
        return _Seen(raw, tuple(_image(root, name, known) for name in raw.images), None)
    except RowProblem as problem:
        return _Seen(raw, (), problem)


def _image(root: Path, name: str, known: dict[str, ImageInfo]) -> ImageInfo:
    if name not in known:
        try:
            known[name] = inspect_image(locate(root, name))
        except BadImage as error:
            raise RowProblem(error.reason, name) from error
    return known[name]


def _require_usable(source: Source, by_reason: dict[str, int], kept: int) -> None:
    repeats = by_reason.keys() & {reasons.EXACT_DUPLICATE, reasons.SEEN_BEFORE}
    if kept == 0 and not repeats:
        told = ", ".join(f"{count} {reason}" for reason, count in by_reason.items())
        missing = reasons.MISSING_IMAGE in by_reason
        raise UserError(
            f"no row of {source.name} can be used",
            where=str(source.annotations),
            seen=told or "no rows",
            hint=f"image names are relative to {source.images}" if missing else "",
        )
