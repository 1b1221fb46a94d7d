"""Where a dataset lies on disk and in which of the known formats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path

from adaptinf.data import readers
from adaptinf.data.catalogue import CATALOGUE
from adaptinf.data.names import DATASETS, FORMATS
from adaptinf.data.readers import json_array, tables
from adaptinf.data.readers.records import first_record
from adaptinf.errors import UserError, suggestion
from adaptinf.plugins import plugin_file


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset found on disk.

    ``annotations`` is a file, or the folder that holds several. Image names of its rows are
    relative to ``images``; ``embedded`` images come inside the annotations and are written there.
    ``name`` is the dataset's name in every artefact. ``columns`` are its names for ours, ``plugin``
    is the Python file of a reader that is not one of our own. ``origin`` is the known dataset, or
    the name of the file; ``licences`` are those of its parts, "" for all others.
    """

    name: str
    format: str
    annotations: Path
    images: Path
    licence: str | None
    columns: Mapping[str, str] = field(default_factory=dict)
    embedded: bool = False
    plugin: Path | None = None
    origin: str | None = None
    licences: Mapping[str, str] = field(default_factory=dict)

    def licence_of(self, part: str | None) -> str | None:
        """The licence of rows of one part of the dataset that tell none of their own."""
        return self.licence or self.licences.get(part or "") or self.licences.get("")

    def source_of(self, part: str | None) -> str | None:
        """Where rows of one part come from, as in ``m3it/okvqa``."""
        return f"{self.origin}/{part}" if self.origin and part else self.origin


@dataclass(frozen=True, slots=True)
class _Registered:
    """Where the annotations lie in the folder ``root/NAME``, and the licence the hub states.

    ``images`` is a folder below ``root``; None: the dataset's own.
    """

    annotations: str
    licence: str | None = None
    images: str | None = None


_REGISTERED = {
    "llava": _Registered("llava_v1_5_mix665k.json", "CC-BY-4.0"),
    "m3it": _Registered("data"),
    "minigpt4": _Registered("filter_cap.json"),
    "mantis": _Registered("", "Apache-2.0"),
    "vision_flan": _Registered("annotation_191-task_1k.json"),
    "lamm": _Registered("LAMM_instruct_186k.json", "CC-BY-NC-4.0"),
    "scienceqa": _Registered("problems.json", "CC-BY-NC-SA-4.0"),
    "coco_captions": _Registered("annotations/captions_train2014.json", "CC-BY-4.0", "coco2014"),
    "lavin": _Registered("all_data.json", None, ""),
    "refcoco": _Registered("", None, "coco2014"),
    "art": _Registered("train_labels.json"),
    "coco_text": _Registered("cocotext.v2.json", "CC-BY-4.0", "coco2014"),
}

# Annotation files below the folder of a format that has more than one.
_PATTERNS = {
    "m3it": "*/*/train.jsonl",
    "mantis": "*/train-*.parquet",
    "refcoco": "data/train-*.parquet",
}

_ROW_PER_RECORD = ("llava", "m3it", "mantis", "vision_flan", "lamm")


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
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> Source:
    """The source that a recipe's ``dataset`` means.

    A registered name is looked for below ``root``; anything else is the path of a file or folder,
    relative to the recipe's folder or else to the working directory, with images relative to the
    folder it lies in. ``media`` is where readers put images that come inside the annotations.
    ``format`` is one of ours, one that an installed package registered under ``adaptinf.readers``,
    or ``reader.py:function``, relative as datasets are. What is given by keyword wins over what is
    registered. ``limit`` is how many rows are wanted: what is told to fetch is no more. Raises
    ``UserError`` when nothing is there or the format cannot be told.
    """
    plugin = _plugin(format, recipe_dir)
    licences: Mapping[str, str] = {}
    if dataset in DATASETS:
        registered = _REGISTERED[dataset]
        annotations = root / dataset / registered.annotations
        if not annotations.exists():
            raise UserError(
                f"the dataset {dataset} is not here",
                where=str(annotations),
                hint="point data.root, or ADAPTINF_DATA_ROOT, at the folder that holds it;"
                f" `{fetching([dataset], root, limit)}` fetches it",
            )
        format, licence = format or dataset, licence or registered.licence
        licences = CATALOGUE[dataset].licences
        folder = root / (dataset if registered.images is None else registered.images)
    else:
        annotations = _user_path(dataset, recipe_dir)
        format = format or ("llava" if columns else _detected_format(annotations))
        name = name or re.sub(r"[^\w-]+", "-", annotations.stem)
        folder = annotations if annotations.is_dir() else annotations.parent
    source = Source(
        name or dataset,
        format,
        annotations,
        folder,
        licence,
        columns or {},
        plugin=plugin,
        origin=dataset if dataset in DATASETS else annotations.name,
        licences=licences,
    )
    _require_columns(source)
    if images is not None:
        return replace(source, images=recipe_dir / images)
    return replace(source, images=media, embedded=True) if _embeds_images(source) else source


def fetching(datasets: Sequence[str], root: Path, limit: int | None) -> str:
    """The command that fetches known datasets, of a limited one the images of so many rows."""
    few = f" --limit {limit}" if limit is not None else ""
    return f"download-datasets {' '.join(datasets)} --root {root}{few}"


def source_parts(source: Source) -> list[Path]:
    """What holds the rows, sorted: the order of reading. Files, or folders that datasets saved.

    Raises ``UserError`` when there are none.
    """
    place = source.annotations
    if not place.is_dir() or tables.is_saved_dataset(place):
        return [place]
    pattern = _PATTERNS.get(source.format)
    patterns = [pattern] if pattern else ["train-*.parquet", "*.parquet"]
    for pattern in patterns:
        if parts := sorted(place.glob(pattern)):
            return parts
    if source.plugin or source.format not in FORMATS:
        return [place]
    raise UserError(
        f"no {source.format} files here",
        where=str(place),
        hint=f"expected {' or '.join(patterns)}",
    )


def source_files(source: Source) -> list[Path]:
    """The files whose content decides the rows. Raises ``UserError`` when there are none."""
    files = [source.plugin] if source.plugin else []
    for part in source_parts(source):
        inside = (file for file in part.rglob("*") if file.is_file())
        files += sorted(inside) if part.is_dir() else [part]
    return files


def count_rows(source: Source, media: Path) -> int:
    """How many rows a source holds, usable or not.

    Files of one row a record are counted without looking at images; others are read. Raises
    ``UserError`` for a file that cannot be read.
    """
    if source.plugin or source.format not in _ROW_PER_RECORD:
        return sum(1 for _ in readers.read(source, media))
    return sum(map(_rows_of, source_parts(source)))


def _rows_of(part: Path) -> int:
    if part.is_dir() or part.suffix == ".parquet":
        return tables.row_count(part)
    if part.suffix == ".jsonl":
        with part.open("rb") as lines:
            return sum(not line.isspace() for line in lines)
    return sum(1 for _ in json_array.items(part))


def _embeds_images(source: Source) -> bool:
    """Whether the images come inside the annotations, so that the reader has to write them."""
    first, *_ = source_parts(source)
    if source.format not in ("llava", "mantis") or first.suffix not in ("", ".parquet"):
        return source.format == "m3it"
    column = source.columns.get("image")
    names = {column} if column else {"image", "images"}
    for row in islice(tables.rows(first), 16):
        for found in (row.get(name) for name in names):
            every = found if isinstance(found, list) else [found]
            if any(isinstance(image, dict) and image.get("bytes") for image in every):
                return True
    return False


def _require_columns(source: Source) -> None:
    if not source.columns:
        return
    if source.format != "llava":
        raise UserError(
            "columns can be named for files of one's own only",
            where=source.name,
            seen=source.format,
            hint="leave out format, or columns",
        )
    first, *_ = source_parts(source)
    found = first_record(first)
    for ours, theirs in source.columns.items():
        if theirs not in found:
            raise UserError(
                f"no column {theirs!r}, which columns.{ours} names",
                where=f"{first}:1",
                seen=sorted(found),
                hint=suggestion(theirs, found),
            )


def _plugin(format: str | None, recipe_dir: Path) -> Path | None:
    """The file of a reader given as ``reader.py:function``. Raises for an unknown format."""
    if format is None or format in FORMATS:
        return None
    if plugin := plugin_file(format, [recipe_dir, Path.cwd()]):
        return plugin
    registered = {entry.name for entry in entry_points(group=readers.GROUP)}
    if format not in registered:
        hint = suggestion(format, [*FORMATS, *sorted(registered)])
        raise UserError("unknown format", seen=format, hint=f"{hint}, or reader.py:function")
    return None


def _user_path(dataset: str, recipe_dir: Path) -> Path:
    tried = [recipe_dir / dataset, Path.cwd() / dataset]
    for path in tried:
        if path.exists():
            return path
    if "/" in dataset or dataset.endswith((".json", ".jsonl", ".parquet")):
        places = " or ".join(sorted({str(path) for path in tried}))
        raise UserError("no such dataset file", seen=dataset, hint=f"looked for {places}")
    near = suggestion(dataset, DATASETS)
    known = "" if near.startswith("known") else f" known: {', '.join(DATASETS)},"
    raise UserError(
        "unknown dataset", seen=dataset, hint=f"{near}{known} or the path of a file or folder"
    )


def _detected_format(path: Path) -> str:
    if path.is_dir():
        return _format_of_folder(path)
    record = first_record(path)
    if "conversations" in record or "messages" in record:
        if "task_type" in record and "src_image" in record:
            return "lamm"
        return "llava"
    if "annotations" in record:
        return "coco_captions" if "images" in record else "minigpt4"
    raise UserError(
        "the format of this file is not known",
        where=f"{path}:1",
        seen=sorted(record),
        hint="expected the columns id, image (may be absent) and conversations or messages;"
        " columns: {question: ..., answer: ..., image: ...} names others",
    )


def _format_of_folder(path: Path) -> str:
    if (path / "dataset_dict.json").is_file():
        splits = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
        hint = f"give one of its splits: {', '.join(f'{path.name}/{name}' for name in splits)}"
        raise UserError("a folder of several splits", where=str(path), hint=hint)
    for format, pattern in _PATTERNS.items():
        if any(path.glob(pattern)):
            return format
    if tables.is_saved_dataset(path) or any(path.glob("*.parquet")):
        return "llava"
    raise UserError(
        "no dataset in this folder",
        where=str(path),
        hint="expected Parquet files, what save_to_disk of datasets writes, or the folder of M3IT"
        " or Mantis",
    )
