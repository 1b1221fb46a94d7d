"""Where a dataset lies on disk and in which of the known formats."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data.names import DATASETS, FORMATS
from adaptinf.data.readers.records import first_record, load_json
from adaptinf.errors import UserError, suggestion


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset found on disk.

    ``annotations`` is a file, or the folder of all configurations (m3it, mantis). Image names of
    its rows are relative to ``images``. ``name`` is the dataset's name in every artefact.
    """

    name: str
    format: str
    annotations: Path
    images: Path
    licence: str | None


@dataclass(frozen=True, slots=True)
class _Registered:
    """Where the annotations lie in the folder ``root/NAME``, and the licence the hub states."""

    annotations: str
    licence: str | None = None


_REGISTERED = {
    "llava": _Registered("llava_v1_5_mix665k.json", "CC-BY-4.0"),
    "m3it": _Registered("data"),
    "minigpt4": _Registered("filter_cap.json"),
    "mantis": _Registered("", "Apache-2.0"),
    "vision_flan": _Registered("annotation_191-task_1k.json"),
}

# Annotation files below the folder of a format that has more than one.
_PATTERNS = {"m3it": "*/*/train.jsonl", "mantis": "*/train-*.parquet"}


def find_source(
    dataset: str,
    *,
    root: Path,
    media: Path,
    recipe_dir: Path,
    name: str | None = None,
    format: str | None = None,
    images: Path | None = None,
    licence: str | None = None,
) -> Source:
    """The source that a recipe's ``dataset`` means.

    A registered name is looked for below ``root``; anything else is the path of a JSON or JSONL
    file (for the formats m3it and mantis of a folder), relative to the recipe's folder or else to
    the working directory, with images relative to the folder it lies in. ``media`` is where
    readers put images that come inside the annotations. What is given by keyword wins over what is
    registered. Raises ``UserError`` when nothing is there or the format cannot be told.
    """
    if format is not None and format not in FORMATS:
        raise UserError("unknown format", seen=format, hint=suggestion(format, FORMATS))
    if dataset in DATASETS:
        registered = _REGISTERED[dataset]
        annotations = root / dataset / registered.annotations
        if not annotations.exists():
            raise UserError(
                f"the dataset {dataset} is not here",
                where=str(annotations),
                hint="point data.root, or ADAPTINF_DATA_ROOT, at the folder that holds it",
            )
        format, licence = format or dataset, licence or registered.licence
        folder = root / dataset
    else:
        annotations = _user_path(dataset, recipe_dir)
        format = format or _detected_format(annotations)
        name = name or re.sub(r"[^\w-]+", "-", annotations.stem)
        folder = annotations if annotations.is_dir() else annotations.parent
    source = Source(name or dataset, format, annotations, folder, licence)
    if images is not None:
        return replace(source, images=recipe_dir / images)
    return replace(source, images=media) if _embeds_images(source) else source


def source_files(source: Source) -> list[Path]:
    """The annotation files whose content decides the rows, sorted: the order of reading.

    Raises ``UserError`` when there are none.
    """
    pattern = _PATTERNS.get(source.format)
    if pattern is None:
        return [source.annotations]
    files = sorted(source.annotations.glob(pattern))
    if not files:
        raise UserError(
            f"no {source.format} files here",
            where=str(source.annotations),
            hint=f"expected {pattern}",
        )
    return files


def count_rows(source: Source) -> int:
    """How many rows the annotation files hold, usable or not; no image is looked at.

    Raises ``UserError`` for a file that cannot be read.
    """
    return sum(_rows_of(file) for file in source_files(source))


def _rows_of(file: Path) -> int:
    if file.suffix == ".parquet":
        return int(pq.read_metadata(file).num_rows)
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            return sum(not line.isspace() for line in lines)
    content = load_json(file)
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError("expected a list of rows", where=str(file), seen=type(rows).__name__)
    return len(rows)


def _embeds_images(source: Source) -> bool:
    """Whether the images come inside the annotations, so that the reader has to write them."""
    files = source_files(source)
    if source.format != "mantis":
        return source.format == "m3it"
    with pq.ParquetFile(files[0]) as table:
        if "images" not in table.schema_arrow.names:
            return False
        head = next(table.iter_batches(16, columns=["images"]), None)
    rows = head.column(0).to_pylist() if head is not None else []
    return any(image and image.get("bytes") for images in rows for image in images or [])


def _user_path(dataset: str, recipe_dir: Path) -> Path:
    tried = [recipe_dir / dataset, Path.cwd() / dataset]
    for path in tried:
        if path.exists():
            return path
    if "/" in dataset or dataset.endswith((".json", ".jsonl")):
        places = " or ".join(sorted({str(path) for path in tried}))
        raise UserError("no such dataset file", seen=dataset, hint=f"looked for {places}")
    near = suggestion(dataset, DATASETS)
    known = "" if near.startswith("known") else f" known: {', '.join(DATASETS)},"
    raise UserError("unknown dataset", seen=dataset, hint=f"{near}{known} or a path to a JSON file")


def _detected_format(path: Path) -> str:
    if path.is_dir():
        raise UserError("a folder needs a format", where=str(path), hint="format: m3it or mantis")
    record = first_record(path)
    if "conversations" in record or "messages" in record:
        return "llava"
    if "annotations" in record:
        return "minigpt4"
    raise UserError(
        "the format of this file is not known",
        where=f"{path}:1",
        seen=sorted(record),
        hint="expected the columns id, image (may be absent) and conversations or messages",
    )
