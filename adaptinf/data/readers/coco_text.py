"""COCO-Text (``cocotext.v2.json``): a row for each legible text of the split train."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.readers.records import asked, fields, keyed, load_json, text_field, unusable
from adaptinf.data.readers.regions import READ, box_text, sizes
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source

FOLDER = "train2014"


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``anns`` ``{image_id, bbox, utf8_string, legibility}`` whose image is for training.

    ``bbox`` is [x, y, width, height] in pixels; ``imgs`` tell name and size of the images.
    """
    content = load_json(source.annotations)
    images = keyed(content, "imgs", source.annotations)
    row = 0
    for ident, record in keyed(content, "anns", source.annotations).items():
        image = images.get(str(record.get("image_id"))) if isinstance(record, dict) else None
        if isinstance(image, dict) and image.get("set") != "train":
            continue
        yield _row(row, ident, record, image)
        row += 1


def _row(row: int, ident: str, record: Any, image: Any) -> RawRow:
    try:
        record = fields(record)
        if image is None:
            raise RowProblem(reasons.MALFORMED_ROW, f"no image of id {record.get('image_id')!r}")
        if record.get("legibility") != "legible" or not record.get("utf8_string"):
            raise RowProblem(reasons.ILLEGIBLE_TEXT)
        image, box = fields(image), record.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise RowProblem(reasons.MALFORMED_ROW, "bbox is not four numbers")
        left, top, width, height = sizes(dict(enumerate(box)), range(4))
        size = sizes(image, ("width", "height"))
        region = box_text((left, top, left + width, top + height), *size)
        turns = (
            asked(READ.format(box=region)),
            Turn("assistant", text_field(record, "utf8_string")),
        )
        return RawRow(row, ident, (f"{FOLDER}/{text_field(image, 'file_name')}",), turns)
    except RowProblem as problem:
        return unusable(row, ident, problem)
