"""LLaVA and ShareGPT style: a JSON array, or one object per line, of conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.readers.records import conversation, fields, records, source_id
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.source import Source


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{id, image, conversations}``.

    ``image`` is absent in text-only rows, and may be a list. The turns may also stand under
    ``messages``, as role and content. There is no task and no skill in this format.
    """
    for row, record in enumerate(records(source.annotations)):
        yield _row(row, record)


def image_names(record: dict[str, Any]) -> tuple[str, ...]:
    """The image names of a row. Raises ``RowProblem`` ("malformed-row") if they are not text."""
    image = record.get("image")
    if image is None:
        return ()
    names = image if isinstance(image, list) else [image]
    if not all(isinstance(name, str) for name in names):
        raise RowProblem(reasons.MALFORMED_ROW, "image is neither text nor a list of texts")
    return tuple(names)


def _row(row: int, record: Any) -> RawRow:
    ident = source_id(record, row)
    try:
        record = fields(record)
        turns = conversation(record.get("conversations", record.get("messages")))
        return RawRow(row, ident, image_names(record), turns)
    except RowProblem as problem:
        return RawRow(row, ident, problem=problem.reason, detail=problem.detail)
