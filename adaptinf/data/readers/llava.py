"""LLaVA and ShareGPT style: conversations, as JSON, JSONL, Parquet or a saved dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data.columns import as_conversation
from adaptinf.data.readers.records import (
    conversation,
    fields,
    images_of,
    optional_text,
    records,
    said,
    source_id,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.source import Source, source_parts


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{id, image, conversations}``.

    ``image`` (or ``images``) is absent in text-only rows, and may be a list. The turns may also
    stand under ``messages``, as role and content. ``task``, ``skill``, ``licence`` and ``source``
    are taken where there are such. ``Source.columns`` says which columns stand for these where they
    have other names. Of LLaVA's own mix, the folder of images is the part.
    """
    row = 0
    for path in source_parts(source):
        for record in records(path):
            yield _row(row, record, source)
            row += 1


def _row(row: int, record: Any, source: Source) -> RawRow:
    if source.columns and isinstance(record, dict):
        record = as_conversation(record, source.columns)
    ident = source_id(record, row)
    try:
        record = fields(record)
        turns = conversation(record.get("conversations", record.get("messages")))
        task, skill = optional_text(record, "task"), optional_text(record, "skill")
        images = images_of(record, source)
        return RawRow(
            row,
            ident,
            images,
            turns,
            task,
            skill,
            part=images[0].partition("/")[0] if images and source.origin == "llava" else None,
            licence=said(record, "licence") or said(record, "license"),
            source=said(record, "source"),
        )
    except RowProblem as problem:
        return unusable(row, ident, problem)
