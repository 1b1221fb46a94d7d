"""The file of conversations that rows are chosen from, and its records written back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptinf.errors import UserError
from selection.pool import Positions
from stages.arrays.columns import Table
from stages.arrays.records import array_records, line_records, read_text

SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True, slots=True, eq=False)
class RowsFile:
    """A JSON array, or one object per line, with the places of its records in the text.

    ``table`` has those of the wanted fields that any record has.
    """

    table: Table
    text: str
    starts: Positions
    ends: Positions

    def excerpt(self, rows: Positions) -> str:
        """The text of a file of the same kind with only the given records, one or more, ascending.

        Every record stands as it stood, to the last character. In an array so does what was around
        them, and between them what was between the first two.
        """
        chosen = [self.text[self.starts[row] : self.ends[row]] for row in rows]
        if self.table.path.suffix == ".jsonl":
            return "".join(chosen)
        gap = self.text[self.ends[0] : self.starts[1]] if len(self.starts) > 1 else ""
        return self.text[: self.starts[0]] + gap.join(chosen) + self.text[self.ends[-1] :]


def read_rows(path: Path, wanted: Collection[str]) -> RowsFile:
    """The records of a .json file (one array) or a .jsonl file (one object per line).

    Raises UserError with the line of what is no record.
    """
    if path.suffix not in SUFFIXES:
        raise UserError("expected a .json or .jsonl file", where=str(path))
    text = read_text(path)
    starts, ends, lines = [], [], []
    names: tuple[str, ...] = ()
    columns: dict[str, list[object]] = {name: [] for name in wanted}
    read = line_records if path.suffix == ".jsonl" else array_records
    for record in read(path, text):
        names = names or tuple(record.fields)
        starts.append(record.start)
        ends.append(record.end)
        lines.append(record.line)
        for name, column in columns.items():
            column.append(record.fields.get(name))
    present = {
        name: column
        for name, column in columns.items()
        if any(value is not None for value in column)
    }
    table = Table(path, len(starts), present, lines, names)
    return RowsFile(table, text, np.array(starts, np.int64), np.array(ends, np.int64))
