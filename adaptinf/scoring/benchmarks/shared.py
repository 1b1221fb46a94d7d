"""What several families have in common: LLaVA's ask for short answers, and rows of one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptinf.scoring.files import (
    each,
    field_of,
    json_file,
    json_lines,
    label_of,
    one_file,
    rows_of,
)
from adaptinf.scoring.items import Item

SHORT = "\nAnswer the question using a single word or phrase."


def targets(place: Path) -> list[Item]:
    """MixLoRA's files: ``unique_id``, ``prompt``, ``target`` and ``image_path`` a line."""
    file = one_file(place, "*.jsonl")

    def item(row: Any) -> Item:
        image = row.get("image_path")
        ident, prompt = str(row["unique_id"]), field_of(row, "prompt", str)
        return Item(ident, prompt, (image,) if image else (), label_of(row, "target", str))

    return each([row for _, row in json_lines(file)], file, item)


def conversations(place: Path) -> list[Item]:
    """Conversations in LLaVA's form; of the turns, the first answer is right."""
    file = one_file(place, "*.json")

    def item(row: Any) -> Item:
        asked, *answer = (field_of(turn, "value", str) for turn in row["conversations"][:2])
        images = row.get("image") or ()
        names = (images,) if isinstance(images, str) else tuple(images)
        return Item(
            str(row["id"]),
            asked.replace("<image>", "").strip(),
            names,
            answer[0] if answer else None,
        )

    return each(rows_of(json_file(file), file), file, item)
