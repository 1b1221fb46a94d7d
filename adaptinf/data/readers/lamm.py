"""LAMM-Instruct 2D: LLaVA conversations without image marks, with a task type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptinf.data.readers.records import (
    conversation,
    fields,
    images_of,
    optional_text,
    records,
    source_id,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import IMAGE_MARK, marked
from adaptinf.data.source import Source


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{id, image, conversations, task_type, src_image}``.

    ``task_type`` is the skill. Where no turn says where the image stands, it stands before the
    first.
    """
    for row, record in enumerate(records(source.annotations)):
        yield _row(row, record, source)


def _row(row: int, record: Any, source: Source) -> RawRow:
    ident = source_id(record, row)
    try:
        record = fields(record)
        images = images_of(record, source)
        turns = conversation(record.get("conversations"))
        if images and turns and not any(IMAGE_MARK in turn.text for turn in turns):
            turns = (replace(turns[0], text=marked(turns[0].text, len(images))), *turns[1:])
        return RawRow(row, ident, images, turns, skill=optional_text(record, "task_type"))
    except RowProblem as problem:
        return unusable(row, ident, problem)
