"""MiniGPT-4 stage 2 (cc_sbu_align): ``filter_cap.json`` and ``image/<image_id>.jpg``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data.readers.records import (
    asked,
    fields,
    listed,
    load_json,
    text_field,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source

PROMPTS = (
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
)


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{image_id, caption}``.

    The file has no prompts. MiniGPT-4 draws one of four for each pass; here the image's id decides
    which, so that a row stays the same row.
    """
    content = load_json(source.annotations)
    for row, record in enumerate(listed(content, "annotations", source.annotations)):
        yield _row(row, record)


def prompt_of(image_id: str) -> str:
    """One of the four prompts, drawn by the hash of the id."""
    digest = hashlib.sha256(image_id.encode("utf-8", "replace")).digest()
    return PROMPTS[digest[0] % len(PROMPTS)]


def _row(row: int, record: Any) -> RawRow:
    try:
        record = fields(record)
        ident = text_field(record, "image_id")
        turns = (asked(prompt_of(ident)), Turn("assistant", text_field(record, "caption")))
        return RawRow(row, ident, (f"image/{ident}.jpg",), turns)
    except RowProblem as problem:
        return unusable(row, str(row), problem)
