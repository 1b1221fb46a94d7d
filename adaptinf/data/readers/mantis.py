"""Mantis-Instruct: ``<config>/train-*.parquet``, several images per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data.readers import tables
from adaptinf.data.readers.records import conversation, images_of, source_id, unusable
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.source import Source, source_parts

COLUMNS = ("id", "images", "conversation")


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{id, images, conversation}``; the configuration is both task and skill.

    An image is a path relative to the configuration's folder, or comes as bytes. Raises
    ``UserError`` for a file without these columns.
    """
    row = 0
    for path in source_parts(source):
        for record in tables.rows(path, COLUMNS):
            yield _row(row, record, path.parent.name, source)
            row += 1


def _row(row: int, record: dict[str, Any], config: str, source: Source) -> RawRow:
    ident = source_id(record, row)
    try:
        turns = conversation(record["conversation"])
        images = images_of(record, source, f"{config}/")
        return RawRow(row, ident, images, turns, config, config, part=config)
    except RowProblem as problem:
        return unusable(row, ident, problem)
