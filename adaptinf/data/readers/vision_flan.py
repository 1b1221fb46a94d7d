"""Vision-Flan 191-task-1k: LLaVA conversations with a task name, images in one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.readers.records import (
    conversation,
    fields,
    images_of,
    records,
    source_id,
    text_field,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.source import Source

FOLDER = "images_191task_1k"


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """Rows of ``{id, image, task_name, conversations}``; the task's name is the skill.

    Unpacking the archive may leave ``#Uxxxx`` in file names for what is not ASCII; such a file is
    taken where the one named is missing, and the row says so.
    """
    for row, record in enumerate(records(source.annotations)):
        yield _row(row, record, source)


def _row(row: int, record: Any, source: Source) -> RawRow:
    ident = source_id(record, row)
    try:
        record = fields(record)
        skill = text_field(record, "task_name")
        named = images_of(record, source, f"{FOLDER}/")
        turns = conversation(record.get("conversations"))
        images = tuple(_on_disk(source.images, name) for name in named)
        read = RawRow(row, ident, images, turns, skill=skill, part=skill)
        return read if images == named else replace(read, notes=(reasons.ESCAPED_NAME,))
    except RowProblem as problem:
        return unusable(row, ident, problem)


def _on_disk(root: Path, name: str) -> str:
    if name.isascii():
        return name
    escaped = re.sub(r"[^\x00-\x7f]", lambda found: f"#U{ord(found[0]):04x}", name)
    try:
        return escaped if (root / escaped).exists() and not (root / name).exists() else name
    except (OSError, ValueError):
        return name
