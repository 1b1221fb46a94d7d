"""Files and folders as records, and conversations as turns: what all readers share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from adaptinf.data import reasons
from adaptinf.data.media import store_image
from adaptinf.data.readers import json_array, tables
from adaptinf.data.rows import RawRow, RowProblem, printable
from adaptinf.data.sample import IMAGE_MARK, Role, Turn, marked
from adaptinf.errors import UserError

if TYPE_CHECKING:
    from adaptinf.data.source import Source

_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}


def load_json(path: Path) -> Any:
    """The content of a JSON file, read whole. Raises ``UserError`` with file:line if broken."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file)
    except json.JSONDecodeError as error:
        raise UserError(f"broken JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error


def records(path: Path) -> Iterator[Any]:
    """The records of a file, in memory that does not grow with it.

    A .json file holds one array, a .jsonl file one object a line; Parquet, and a folder that
    ``datasets`` saved, hold rows. A line that is not JSON gives ``None``, which no reader takes for
    a record; blank lines give nothing.
    """
    if path.is_dir() or path.suffix == ".parquet":
        return tables.rows(path)
    return _lines(path) if path.suffix == ".jsonl" else json_array.items(path)


def first_record(path: Path) -> dict[str, Any]:
    """The first record of a file without reading all of it, or the object it consists of.

    Raises ``UserError`` if there is none.
    """
    if path.is_dir() or path.suffix == ".parquet":
        record = next(tables.rows(path), None)
    else:
        record = json_array.first_item(path)
    if not isinstance(record, dict):
        raise UserError("expected a JSON object", where=f"{path}:1", seen=type(record).__name__)
    return record


def listed(content: Any, name: str, path: Path) -> list[Any]:
    """The list under a key of a file's object. Raises ``UserError`` if there is none."""
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise UserError(f"expected a JSON object with a list of {name}", where=str(path))
    return found


def keyed(content: Any, name: str, path: Path) -> dict[str, Any]:
    """The object under a key of a file's object. Raises ``UserError`` if there is none."""
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise UserError(f"expected a JSON object with an object of {name}", where=str(path))
    return found


def fields(record: Any) -> dict[str, Any]:
    """The record as a dictionary. Raises ``RowProblem`` ("malformed-row") for anything else."""
    if not isinstance(record, dict):
        raise RowProblem(reasons.MALFORMED_ROW, "not a JSON object")
    return record


def text_field(record: dict[str, Any], name: str) -> str:
    """A field that must be text. Raises ``RowProblem`` ("malformed-row") if it is not."""
    value = record.get(name)
    if not isinstance(value, str):
        raise RowProblem(reasons.MALFORMED_ROW, f"{name} is {type(value).__name__}")
    return value


def optional_text(record: dict[str, Any], name: str) -> str | None:
    """A field that may be absent, else text. Raises ``RowProblem`` ("malformed-row")."""
    return None if record.get(name) is None else text_field(record, name)


def said(record: dict[str, Any], name: str) -> str | None:
    """What a field says about where a row comes from; None for what is no text, or blank."""
    value = record.get(name)
    return printable(value) if isinstance(value, str) and value.strip() else None


def source_id(record: Any, row: int, key: str = "id") -> str:
    """The record's own id as text; the row number where it has none. Ids are not unique."""
    value = record.get(key) if isinstance(record, dict) else None
    return str(value) if isinstance(value, str | int) else str(row)


def unusable(row: int, ident: str, problem: RowProblem) -> RawRow:
    """The row that stands for one that could not be read."""
    return RawRow(row, ident, problem=problem.reason, detail=problem.detail)


def asked(question: str, n_images: int = 1) -> Turn:
    """A user's turn: as many image marks as images, a line each, and the question."""
    return Turn("user", marked(question, n_images))


def images_of(record: dict[str, Any], source: Source, folder: str = "") -> tuple[str, ...]:
    """The image names of a row: under ``image`` or ``images``, one or a list, or none.

    An image is a path, below ``folder``, or ``{bytes, path}`` as ``datasets`` stores it; bytes are
    written into the source's folder of images. Raises ``RowProblem``: "malformed-row" for anything
    else, "undecodable-image" for bytes that are no image.
    """
    found = record.get("image")
    if found is None:
        found = record.get("images")
    if found is None:
        return ()
    every = found if isinstance(found, list) else [found]
    return tuple(_image(image, source, folder) for image in every if image)


def conversation(items: Any) -> tuple[Turn, ...]:
    """Turns from ``{from, value}`` or ``{role, content}`` items; content may come in parts.

    Raises ``RowProblem``: "malformed-row" for other items, "unknown-role" for other speakers.
    """
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise RowProblem(reasons.MALFORMED_ROW, f"the conversation is {type(items).__name__}")
    return tuple(_turn(item) for item in items)


def _image(image: Any, source: Source, folder: str) -> str:
    if isinstance(image, str):
        return f"{folder}{image}"
    if not isinstance(image, dict):
        raise RowProblem(reasons.MALFORMED_ROW, "image is neither text nor a list of texts")
    raw, path = image.get("bytes"), image.get("path")
    if source.embedded:
        if not isinstance(raw, bytes) or not raw:
            raise RowProblem(reasons.MISSING_IMAGE, f"{folder}{path or ''}")
        return store_image(source.images, raw)
    if not isinstance(path, str):
        raise RowProblem(reasons.MALFORMED_ROW, "an image has neither a path nor bytes")
    return f"{folder}{path}"


def _turn(item: Any) -> Turn:
    item = fields(item)
    speaker = text_field(item, "from" if item.get("from") is not None else "role")
    if speaker not in _ROLES:
        raise RowProblem(reasons.UNKNOWN_ROLE, speaker)
    if isinstance(item.get("content"), list):
        text = "".join(map(_part, item["content"]))
    else:
        text = text_field(item, "value" if "value" in item else "content")
    return Turn(cast(Role, _ROLES[speaker]), text)


def _part(part: Any) -> str:
    """A part of a message, as chat templates have them: text, or the place of an image."""
    part = fields(part)
    if part.get("type") == "image":
        return IMAGE_MARK
    return text_field(part, "text")


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield None
