"""Label files and answers as they come: what is wrong with them is told by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.errors import UserError

T = TypeVar("T")


def json_file(path: Path) -> Any:
    """The content of a JSON file. Raises ``UserError``."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(f"broken JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Numbers and contents of the lines of a JSON Lines file. Raises ``UserError``."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError as error:
                        raise UserError("not JSON", where=f"{path}:{number}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error


def table_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a Parquet file: these columns, or all but those of images. Raises ``UserError``."""
    try:
        names = columns or [n for n in pq.read_schema(path).names if not n.startswith("image_")]
        rows: list[dict[str, Any]] = pq.read_table(path, columns=list(names)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error
    return rows


def rows_of(content: Any, path: Path, key: str | None = None) -> list[Any]:
    """The list in a file, or under a key of its object. Raises ``UserError``."""
    found = content.get(key) if key and isinstance(content, dict) else content
    if not isinstance(found, list):
        where = f"a list of {key}" if key else "a list"
        raise UserError(f"expected {where}", where=str(path), seen=type(found).__name__)
    return found


def has(content: Any, key: str) -> bool:
    """Whether a file's content is an object with that key."""
    return isinstance(content, dict) and key in content


def each(rows: Sequence[Any], path: Path, make: Callable[[Any], T]) -> list[T]:
    """``make`` of every row.

    Raises:
        UserError: there is none, or, with its number, one that lacks a field.
    """
    if not rows:
        raise UserError("no rows here", where=str(path))
    made = []
    for number, row in enumerate(rows):
        try:
            made.append(make(row))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            told = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"row {number} of the labels cannot be read: {told}", where=str(path)
            ) from error
    return made


def one_file(place: Path, *patterns: str) -> Path:
    """The place itself if it is a file, else the one file in it of the first pattern that has any.

    Raises:
        UserError: there is none, or more than one.
    """
    if place.is_file():
        return place
    every = (sorted(place.glob(pattern)) for pattern in patterns)
    found = next((files for files in every if files), [])
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(
            "cannot tell which file holds the labels",
            where=str(place),
            seen=names,
            hint=f"expected one of {' or '.join(patterns)}; or give the file itself",
        )
    return found[0]


@dataclass(slots=True)
class Answers:
    """Texts by question id, and what was odd about the file that they are from.

    ``malformed`` are numbers of lines, ``repeated`` ids of which a later line has the same text,
    ``contradicted`` those of which it has another: the first counts.
    """

    texts: dict[str, str] = field(default_factory=dict)
    malformed: list[int] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)

    def add(self, question_id: str, text: str) -> None:
        """One more answer."""
        known = self.texts.setdefault(question_id, text)
        if known is not text:
            (self.repeated if known == text else self.contradicted).append(question_id)


def read_answers(path: Path) -> Answers:
    """Answers in LLaVA's form: a JSON object a line, with ``question_id`` and ``text``.

    Raises:
        UserError: the file cannot be read, or holds no answer at all.
    """
    answers = Answers()
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    pair = _answer(line)
                    if pair is None:
                        answers.malformed.append(number)
                    else:
                        answers.add(*pair)
    except OSError as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error
    if not answers.texts:
        hint = 'a line is {"question_id": ..., "text": ...}'
        raise UserError("no answers here", where=str(path), hint=hint)
    return answers


def _answer(line: str) -> tuple[str, str] | None:
    try:
        row = json.loads(line)
        ident, text = row["question_id"], row["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(ident, str | int) or isinstance(ident, bool) or not isinstance(text, str):
        return None
    return str(ident), text.strip()


def field_of(row: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A field of that type. Raises ``ValueError`` that names it."""
    value = row[name]
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value


def label_of(row: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """The same of what is right: None where a test split keeps it to itself."""
    return None if row.get(name) is None else field_of(row, name, kind)
