"""JSON objects with their places in the text, so that they can be written back untouched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One object, which is ``text[start:end]`` and begins on that line (from 1)."""

    fields: dict[str, Any]
    start: int
    end: int
    line: int


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, a byte order mark left out. Raises UserError if it is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except OSError as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError("the file is not UTF-8", where=f"{path}:{line}") from error


def line_records(path: Path, text: str) -> Iterator[Record]:
    """One object per line, the line break being part of it; blank lines give nothing.

    Raises UserError with the line for anything else.
    """
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        end = min(start + len(line) + 1, len(text))
        if not _SPACE.fullmatch(line):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _broken(path, number, getattr(error, "msg", str(error))) from error
            yield Record(_object(path, number, value), start, end, number)
        start = end


def array_records(path: Path, text: str) -> Iterator[Record]:
    """The objects of one JSON array. Raises UserError with the line for anything else."""
    place, line, counted = _after_space(text, 0), 1, 0
    if text[place : place + 1] != "[":
        hint = "one object per line belongs into a .jsonl file"
        raise UserError("expected a JSON array", where=f"{path}:1", hint=hint)
    place = _after_space(text, place + 1)
    more = text[place : place + 1] != "]"
    while more:
        line, counted = line + text.count("\n", counted, place), place
        value, end = _decoded(path, text, place, line)
        yield Record(_object(path, line, value), place, end, line)
        place = _after_space(text, end)
        if text[place : place + 1] not in (",", "]"):
            raise _broken(path, _line(text, place), "expected ',' or ']'")
        more = text[place] == ","
        place = _after_space(text, place + 1) if more else place
    rest = _after_space(text, place + 1)
    if rest != len(text):
        raise _broken(path, _line(text, rest), "text after the array")


def _decoded(path: Path, text: str, place: int, line: int) -> tuple[Any, int]:
    """The value that begins at that place of that line, and where it ends."""
    try:
        return _DECODER.raw_decode(text, place)
    except json.JSONDecodeError as error:
        raise _broken(path, error.lineno, error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, line, str(error)) from error


def _object(path: Path, line: int, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError("expected a JSON object", where=f"{path}:{line}", seen=type(value).__name__)
    return value


def _broken(path: Path, line: int, told: str) -> UserError:
    return UserError(f"broken JSON: {told}", where=f"{path}:{line}")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place
