"""M3IT: ``<group>/<config>/train.jsonl`` of the official records, images inside as base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.media import store_image
from adaptinf.data.readers.records import (
    asked,
    fields,
    first_record,
    records,
    text_field,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source, source_parts
from adaptinf.errors import UserError

COLUMNS = ("instruction", "inputs", "image_base64_str", "outputs")


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{instruction, inputs, image_base64_str, outputs}``, one mark per image in front.

    The group is the task, the configuration the skill, and a row's id is
    ``<config>_train_<index>``. Raises ``UserError`` for the raw files of the hub, which hold other
    columns: the official records come from its loading script.
    """
    row = 0
    for path in source_parts(source):
        _require_columns(path)
        for index, record in enumerate(records(path)):
            yield _row(row, f"{path.parent.name}_{path.stem}_{index}", record, path, media)
            row += 1


def _row(row: int, ident: str, record: Any, path: Path, media: Path) -> RawRow:
    task, skill = path.parent.parent.name, path.parent.name
    try:
        record = fields(record)
        encoded = record.get("image_base64_str")
        if not isinstance(encoded, list):
            raise RowProblem(reasons.MALFORMED_ROW, "image_base64_str is not a list")
        instruction, inputs = text_field(record, "instruction"), text_field(record, "inputs")
        answer = Turn("assistant", text_field(record, "outputs"))
        question = asked(f"{instruction} {inputs}" if inputs else instruction, len(encoded))
        images = tuple(store_image(media, _decoded(image)) for image in encoded)
        return RawRow(row, ident, images, (question, answer), task, skill, part=skill)
    except RowProblem as problem:
        return unusable(row, ident, problem)


def _decoded(encoded: Any) -> bytes:
    if not isinstance(encoded, str):
        raise RowProblem(reasons.MALFORMED_ROW, "an image is not text")
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowProblem(reasons.UNDECODABLE_IMAGE, "broken base64") from error


def _require_columns(path: Path) -> None:
    if not path.stat().st_size:
        return
    found = first_record(path)
    if not set(COLUMNS) <= set(found):
        raise UserError(
            "not the official records of M3IT",
            where=f"{path}:1",
            seen=sorted(found),
            hint=f"expected the columns {', '.join(COLUMNS)}",
        )
