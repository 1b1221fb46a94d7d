"""LaVIN's instruction mix (``all_data.json``): LLaVA-150k, 52k text rows and ScienceQA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data.readers.records import (
    asked,
    fields,
    listed,
    load_json,
    optional_text,
    source_id,
    text_field,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``train``, ``{qid, instruction, answer, image, image_source}``.

    An image of ``sqa`` is ``scienceqa/images/train/<qid>/image.png``, any other one
    ``coco2014/train2014/COCO_train2014_<image>``; text-only rows have none. The source is the
    skill.
    """
    content = load_json(source.annotations)
    for row, record in enumerate(listed(content, "train", source.annotations)):
        yield _row(row, record)


def _row(row: int, record: Any) -> RawRow:
    ident = source_id(record, row, "qid")
    try:
        record = fields(record)
        picture, origin = optional_text(record, "image"), optional_text(record, "image_source")
        images: tuple[str, ...] = ()
        if picture:
            images = (f"coco2014/train2014/COCO_train2014_{picture}",)
            if origin == "sqa":
                images = (f"scienceqa/images/train/{ident}/image.png",)
        turns = (
            asked(text_field(record, "instruction"), len(images)),
            Turn("assistant", text_field(record, "answer")),
        )
        return RawRow(row, ident, images, turns, skill=origin, part=origin)
    except RowProblem as problem:
        return unusable(row, ident, problem)
