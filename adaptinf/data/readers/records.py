"""JSON and JSONL files as records, and conversations as turns: what all readers share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from adaptinf.data import reasons
from adaptinf.data.rows import RowProblem
from adaptinf.data.sample import Role, Turn
from adaptinf.errors import UserError

_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}

_HEAD = 65_536


def load_json(path: Path) -> Any:
    """The content of a JSON file, read whole. Raises ``UserError`` with file:line if broken."""
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file)
    except json.JSONDecodeError as error:
        extra = "if it holds one JSON object per line, name it .jsonl"
        raise UserError(
            f"broken JSON: {error.msg}",
            where=f"{path}:{error.lineno}",
            hint=extra if error.msg == "Extra data" else "",
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error


def records(path: Path) -> Iterator[Any]:
    """The records of a .jsonl file, line by line, or of a .json file that holds one array.

    A line that is not JSON gives ``None``, which no reader takes for a record; blank lines give
    nothing.
    """
    if path.suffix == ".jsonl":
        yield from _lines(path)
        return
    content = load_json(path)
    if not isinstance(content, list):
        raise UserError("expected a JSON array", where=str(path), seen=type(content).__name__)
    yield from content


def first_record(path: Path) -> dict[str, Any]:
    """The first record of a file without reading all of it, or the object it consists of.

    Raises ``UserError`` if there is none.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD)
        while True:
            try:
                text = head.lstrip("\ufeff \t\r\n").removeprefix("[").lstrip()
                record, _ = json.JSONDecoder().raw_decode(text)
                break
            except json.JSONDecodeError as error:
                more = file.read(len(head))
                if not more:
                    raise UserError("no JSON record here", where=f"{path}:1") from error
                head += more
    if not isinstance(record, dict):
        raise UserError("expected a JSON object", where=f"{path}:1", seen=type(record).__name__)
    return record


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


def source_id(record: Any, row: int) -> str:
    """The record's own id as text; the row number where it has none. Ids are not unique."""
    value = record.get("id") if isinstance(record, dict) else None
    return str(value) if isinstance(value, str | int) else str(row)


def conversation(items: Any) -> tuple[Turn, ...]:
    """Turns from ``{from, value}`` or ``{role, content}`` items.

    Raises ``RowProblem``: "malformed-row" for other items, "unknown-role" for other speakers.
    """
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise RowProblem(reasons.MALFORMED_ROW, f"the conversation is {type(items).__name__}")
    return tuple(_turn(item) for item in items)


def _turn(item: Any) -> Turn:
    item = fields(item)
    speaker = text_field(item, "from" if "from" in item else "role")
    if speaker not in _ROLES:
        raise RowProblem(reasons.UNKNOWN_ROLE, speaker)
    text = text_field(item, "value" if "value" in item else "content")
    return Turn(cast(Role, _ROLES[speaker]), text)


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield None
