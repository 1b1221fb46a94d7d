"""Named columns of a table that a user brings: scores, ids, groups, arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.errors import UserError
from selection.pool import Scores
from stages.arrays.records import line_records, read_text


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of ``rows`` values each, as Python or Arrow has them; null where there is none.

    ``lines`` are the lines of the rows in a text file, from 1, None for other files; ``fields``
    further names that the file has, and that were not read.
    """

    path: Path
    rows: int
    columns: Mapping[str, Sequence[Any] | pa.ChunkedArray]
    lines: Sequence[int] | None = None
    fields: Sequence[str] = ()

    def place(self, row: int) -> str:
        """``FILE:LINE`` of the row, or ``FILE:row NUMBER``."""
        return f"{self.path}:{f'row {row}' if self.lines is None else self.lines[row]}"

    def values(self, name: str) -> list[Any]:
        """The column as Python values. Raises UserError naming the first row that has none."""
        column = self.columns[name]
        values = column.to_pylist() if isinstance(column, pa.ChunkedArray) else list(column)
        for row, value in enumerate(values):
            if value is None:
                raise UserError(f"no {name!r} in this row", where=self.place(row))
        return values

    def is_score(self, name: str) -> bool:
        """Whether the column holds numbers: by its type, in JSON by any of its values."""
        column = self.columns[name]
        if isinstance(column, pa.ChunkedArray):
            return _is_numeric(column.type)
        return any(_is_number(value) for value in column)

    def score(self, name: str) -> Scores:
        """The column as float64 [rows], NaN for null. Raises UserError where it is no number."""
        column = self.columns[name]
        if isinstance(column, pa.ChunkedArray):
            if not _is_numeric(column.type):
                raise UserError(
                    f"the score {name!r} must hold numbers",
                    where=str(self.path),
                    seen=str(column.type),
                )
            wide = column.cast(pa.float64(), safe=False)
            return np.asarray(wide.to_numpy(), dtype=np.float64)
        for row, value in enumerate(column):
            if not (value is None or _is_number(value)):
                raise UserError(
                    f"the score {name!r} must be a number or null",
                    where=self.place(row),
                    seen=value,
                )
        return np.array([np.nan if value is None else float(value) for value in column])


def read_table(path: Path) -> Table:
    """The table in a Parquet file, or in a file of one JSON object per line.

    Raises UserError, with the line where there are lines, when it cannot be read.
    """
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".jsonl":
        return _jsonl(path)
    raise UserError("expected a .parquet or .jsonl file", where=str(path))


def _parquet(path: Path) -> Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except (OSError, pa.ArrowException) as error:
        raise UserError("the table cannot be read", where=str(path), seen=str(error)) from error
    return Table(path, table.num_rows, {name: table[name] for name in table.column_names})


def _jsonl(path: Path) -> Table:
    records = list(line_records(path, read_text(path)))
    names = dict.fromkeys(name for record in records for name in record.fields)
    columns = {name: [record.fields.get(name) for record in records] for name in names}
    return Table(path, len(records), columns, [record.line for record in records])


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
