"""RefCOCO, RefCOCO+ and RefCOCOg as Parquet: a row for each expression, the answer is a box."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.readers import tables
from adaptinf.data.readers.records import asked, fields, source_id, text_field, unusable
from adaptinf.data.readers.regions import FIND, box_text, sizes
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source, source_parts

COLUMNS = ("ref_id", "sentences", "bbox", "image_path", "raw_image_info")


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{ref_id, sentences, bbox, image_path, raw_image_info}``.

    ``bbox`` is [x1, y1, x2, y2] in pixels, ``raw_image_info`` JSON with width and height. The box
    of the answer is in shares of the image, which is not padded. Images are those of COCO,
    ``train2014/<name>``.
    """
    row = 0
    for path in source_parts(source):
        for record in tables.rows(path, COLUMNS):
            for number, sentence in enumerate(record["sentences"] or [None]):
                yield _row(row, f"{source_id(record, row, 'ref_id')}-{number}", record, sentence)
                row += 1


def _row(row: int, ident: str, record: dict[str, Any], sentence: Any) -> RawRow:
    try:
        text = text_field(fields(sentence), "sent")
        info = _info(text_field(record, "raw_image_info"))
        answer = box_text(record["bbox"] or (), *sizes(info, ("width", "height")))
        turns = (asked(FIND.format(text=text)), Turn("assistant", answer))
        image = text_field(record, "image_path").removeprefix("coco/")
        return RawRow(row, ident, (image,), turns)
    except RowProblem as problem:
        return unusable(row, ident, problem)


def _info(text: str) -> dict[str, Any]:
    try:
        return fields(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RowProblem(reasons.MALFORMED_ROW, "raw_image_info is not JSON") from error
