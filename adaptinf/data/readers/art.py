"""ICDAR 2019 ArT (``train_labels.json``): a row for each legible text of ``train_images``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.images import BadImage, image_size, locate
from adaptinf.data.readers.records import asked, fields, load_json, text_field, unusable
from adaptinf.data.readers.regions import READ, box_text
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source
from adaptinf.errors import UserError

FOLDER = "train_images"


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{gt_<n>: [{transcription, points, language, illegibility}]}``.

    The region of a text is the box around its polygon, in shares of the image, whose size is looked
    up. The language is the skill.
    """
    content = load_json(source.annotations)
    if not isinstance(content, dict):
        raise UserError("expected a JSON object of images", where=str(source.annotations))
    size = lru_cache(maxsize=16)(lambda name: _size(source.images, name))
    row = 0
    for name, texts in content.items():
        for number, record in enumerate(texts if isinstance(texts, list) else [None]):
            yield _row(row, f"{name}-{number}", f"{FOLDER}/{name}.jpg", record, size)
            row += 1


def _row(row: int, ident: str, image: str, record: Any, size: Any) -> RawRow:
    try:
        record = fields(record)
        text = text_field(record, "transcription")
        if record.get("illegibility") or text in ("", "###"):
            raise RowProblem(reasons.ILLEGIBLE_TEXT)
        across, down = zip(*_points(record.get("points")), strict=True)
        box = (min(across), min(down), max(across), max(down))
        turns = (asked(READ.format(box=box_text(box, *size(image)))), Turn("assistant", text))
        skill = record.get("language")
        return RawRow(row, ident, (image,), turns, skill=skill if isinstance(skill, str) else None)
    except RowProblem as problem:
        return unusable(row, ident, problem)


def _points(points: Any) -> list[tuple[float, float]]:
    match points:
        case [_, *_] if all(_is_point(point) for point in points):
            return [(float(x), float(y)) for x, y in points]
    raise RowProblem(reasons.MALFORMED_ROW, "points are not pairs of numbers")


def _is_point(point: Any) -> bool:
    match point:
        case [int() | float(), int() | float()]:
            return True
    return False


def _size(root: Path, name: str) -> tuple[int, int]:
    try:
        return image_size(locate(root, name))
    except BadImage as error:
        raise RowProblem(error.reason, name) from error
