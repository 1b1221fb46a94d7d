"""Columns that say what a row is: its id, its group, the step at which it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptinf.errors import UserError, suggestion
from stages.arrays.columns import Table
from stages.arrays.order import Columns

IDS = ("id", "uid")
GROUPS = ("dataset", "group")
ARRIVAL = ("arrival", "arrived")


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A column and the table it was found in."""

    name: str
    table: Table

    def texts(self) -> tuple[str, ...]:
        """Its values as text. Raises UserError where one is missing, or neither text nor number."""
        values = self.table.values(self.name)
        for row, value in enumerate(values):
            if not isinstance(value, str | int):
                raise UserError(
                    f"{self.name!r} must be text or a whole number",
                    where=self.table.place(row),
                    seen=value,
                )
        return tuple(map(str, values))

    def steps(self) -> NDArray[np.int64]:
        """Its values as whole numbers. Raises UserError where one is missing or something else."""
        values = self.table.values(self.name)
        for row, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(
                    f"{self.name!r} must be a whole number", where=self.table.place(row), seen=value
                )
        return np.array(values, dtype=np.int64)


def find_label(
    tables: Sequence[Table], name: str | None, usual: Sequence[str], option: str
) -> Label | None:
    """The column of that name, or of a usual one, in the first table that has it.

    Raises UserError when a column that was asked for is in none of them.
    """
    names = usual if name is None else (name,)
    for table in tables:
        for column in names:
            if column in table.columns:
                return Label(column, table)
    if name is None:
        return None
    places = " or ".join(str(table.path) for table in tables) or "any file: there is no table"
    known = {field for table in tables for field in (*table.columns, *table.fields)}
    hint = suggestion(name, known) if known else ""
    raise UserError(f"no column {name!r} in {places}", where=option, hint=hint)


def unique_ids(tables: Sequence[Table], columns: Columns, n: int) -> tuple[str, ...]:
    """The ids of the rows, or their numbers from 0 where there are none or where it is asked.

    Raises UserError for an id that two rows have, and where both tables have the column and differ.
    """
    label = find_label(tables, columns.ids, IDS, "--id-column")
    if label is None or columns.row_numbers:
        return tuple(map(str, range(n)))
    ids = label.texts()
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise UserError(
                f"the id of row {first[name]} stands here again",
                where=label.table.place(row),
                seen=name,
                hint="--id-column NAME takes another column, --row-numbers needs none",
            )
    for table in tables:
        if table is not label.table and label.name in table.columns:
            _check_same(ids, Label(label.name, table), label)
    return ids


def _check_same(ids: Sequence[str], other: Label, label: Label) -> None:
    for row, (name, found) in enumerate(zip(ids, other.texts(), strict=True)):
        if name != found:
            raise UserError(
                f"this row is {name!r} in {label.table.path}",
                where=other.table.place(row),
                seen=found,
                hint="row i must be the same row in every file",
            )
