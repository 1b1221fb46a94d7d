"""COCO captions 2014: ``captions_train2014.json``, a row for each caption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.readers.records import (
    asked,
    fields,
    listed,
    load_json,
    source_id,
    text_field,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source

ASK = "Provide a one-sentence caption for the provided image."

FOLDER = "train2014"


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``annotations`` ``{id, image_id, caption}``; ``images`` name the files."""
    content = load_json(source.annotations)
    images = listed(content, "images", source.annotations)
    names = {image.get("id"): image.get("file_name") for image in images if isinstance(image, dict)}
    for row, record in enumerate(listed(content, "annotations", source.annotations)):
        yield _row(row, record, names)


def _row(row: int, record: Any, names: Mapping[Any, Any]) -> RawRow:
    ident = source_id(record, row)
    try:
        record = fields(record)
        image = record.get("image_id")
        name = names.get(image) if isinstance(image, int | str) else None
        if not isinstance(name, str):
            raise RowProblem(reasons.MALFORMED_ROW, f"no image of the id {image!r}")
        answer = Turn("assistant", text_field(record, "caption").strip())
        return RawRow(row, ident, (f"{FOLDER}/{name}",), (asked(ASK), answer))
    except RowProblem as problem:
        return unusable(row, ident, problem)
