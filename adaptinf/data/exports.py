"""Rows as files for other trainers, or for a later run: LLaVA's JSON, ShareGPT's JSONL, Parquet."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from adaptinf.data.images import locate
from adaptinf.data.pool import TableWriter
from adaptinf.data.sample import Sample
from adaptinf.errors import UserError
from adaptinf.folders import whole

Form = Literal["llava", "sharegpt", "parquet"]

FORMS: Mapping[str, str] = {
    "llava": "rows.json",
    "sharegpt": "rows.jsonl",
    "parquet": "rows.parquet",
}
"""The file of each form."""

SPEAKERS = {"user": "human", "assistant": "gpt"}

_ROWS_PER_TABLE = 4096

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("images", pa.list_(pa.string())),
        pa.field(
            "messages",
            pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])),
        ),
        pa.field("dataset", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("source", pa.string()),
        pa.field("task", pa.string()),
        pa.field("skill", pa.string()),
    ]
)


def export_rows(
    samples: Iterable[Sample], form: str, folder: Path, image_root: Callable[[str], Path]
) -> Path:
    """Write rows into the new ``folder`` and return their file.

    Images stand in ``images/DATASET/``, linked where the disk allows it, else copied; names in the
    rows start at the folder. ``sharegpt`` brings the ``dataset_info.json`` that LLaMA-Factory
    wants; ms-swift takes the file as it is. The reader of llava reads all three back, with the same
    turns, images, tasks and skills.

    Raises:
        UserError: the folder is there, an unknown form, or an image that is gone.
    """
    if form not in FORMS:
        raise UserError("unknown form", seen=form, hint=f"one of {', '.join(FORMS)}")
    with whole(folder) as draft:
        rows = (_record(sample, draft, image_root) for sample in samples)
        _WRITERS[form](draft / FORMS[form], rows)
    return folder / FORMS[form]


def _record(sample: Sample, folder: Path, image_root: Callable[[str], Path]) -> dict[str, Any]:
    root = image_root(sample.dataset)
    return {
        "id": sample.source_id,
        "images": [_placed(root, sample.dataset, name, folder) for name in sample.images],
        "turns": sample.turns,
        "dataset": sample.dataset,
        "licence": sample.licence,
        "source": sample.source,
        "task": sample.task,
        "skill": sample.skill,
    }


def _placed(root: Path, dataset: str, name: str, folder: Path) -> str:
    """An image's name in the folder, where it stands from then on."""
    place = f"images/{dataset}/{name}"
    target = folder / place
    if not target.exists():
        source = locate(root, name).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileNotFoundError as error:
            raise UserError("the image of a row is gone", where=str(source)) from error
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, target)
    return place


def _labels(row: Mapping[str, Any]) -> dict[str, str]:
    return {key: row[key] for key in ("dataset", "licence", "source", "task", "skill") if row[key]}


def _write_llava(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as out:
        for number, row in enumerate(rows):
            images: list[str] = row["images"]
            shown = {"image": images[0] if len(images) == 1 else images} if images else {}
            turns = [{"from": SPEAKERS[turn.role], "value": turn.text} for turn in row["turns"]]
            told = {"id": row["id"], **shown, "conversations": turns, **_labels(row)}
            out.write("[\n" if not number else ",\n")
            out.write(json.dumps(told, ensure_ascii=False))
        out.write("\n]\n")


def _write_sharegpt(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as out:
        for row in rows:
            told = {"id": row["id"], "messages": _messages(row), "images": row["images"]}
            out.write(json.dumps(told | _labels(row), ensure_ascii=False) + "\n")
    about = {
        "rows": {
            "file_name": file.name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
            },
        }
    }
    file.with_name("dataset_info.json").write_text(json.dumps(about, indent=1) + "\n")


def _write_parquet(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with TableWriter(file, _SCHEMA) as out:
        waiting: list[dict[str, Any]] = []
        for row in rows:
            waiting.append({**row, "messages": _messages(row)})
            if len(waiting) == _ROWS_PER_TABLE:
                out.write(pa.Table.from_pylist(waiting, schema=_SCHEMA))
                waiting.clear()
        out.write(pa.Table.from_pylist(waiting, schema=_SCHEMA))


def _messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in row["turns"]]


_WRITERS: Mapping[str, Callable[[Path, Iterator[dict[str, Any]]], None]] = {
    "llava": _write_llava,
    "sharegpt": _write_sharegpt,
    "parquet": _write_parquet,
}
