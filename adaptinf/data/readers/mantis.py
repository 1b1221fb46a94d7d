"""Mantis-Instruct: ``<config>/train-*.parquet``, several images per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.data import reasons
from adaptinf.data.media import store_image
from adaptinf.data.readers.records import conversation, source_id
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.source import Source, source_files
from adaptinf.errors import UserError

COLUMNS = ("id", "images", "conversation")

_ROWS_PER_READ = 256


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{id, images, conversation}``; the configuration is both task and skill.

    An image is a path relative to the configuration's folder. Where the tables carry the images
    themselves (``Source.images`` is then ``media``), the bytes are written there. Raises
    ``UserError`` for a file without these columns.
    """
    row = 0
    for path in source_files(source):
        for record in _records(path):
            yield _row(row, record, path.parent.name, source, media)
            row += 1


def _row(row: int, record: dict[str, Any], config: str, source: Source, media: Path) -> RawRow:
    ident = source_id(record, row)
    try:
        turns = conversation(record["conversation"])
        stored = [image for image in record["images"] or [] if image]
        images = tuple(_name(image, config, source, media) for image in stored)
        return RawRow(row, ident, images, turns, config, config)
    except RowProblem as problem:
        return RawRow(row, ident, problem=problem.reason, detail=problem.detail)


def _name(image: dict[str, Any], config: str, source: Source, media: Path) -> str:
    path, raw = image.get("path") or "", image.get("bytes")
    if source.images != media:
        return f"{config}/{path}"
    if not raw:
        raise RowProblem(reasons.MISSING_IMAGE, f"{config}/{path}")
    return store_image(media, raw)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            missing = set(COLUMNS) - set(file.schema_arrow.names)
            if missing:
                raise UserError(
                    "not a Mantis table",
                    where=str(path),
                    seen=sorted(file.schema_arrow.names),
                    hint=f"expected the columns {', '.join(COLUMNS)}",
                )
            for batch in file.iter_batches(_ROWS_PER_READ, columns=list(COLUMNS)):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UserError("the table cannot be read", where=str(path), seen=str(error)) from error
