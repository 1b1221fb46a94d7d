"""A plain table of aligned text that never grows wider than the page."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_GAP = 2
_HEADER_FLOOR = 8
_TEXT_FLOOR = 12
_NUMBER = r"[+-]?[\d.,]*\d%?|-?"  # or a dash or nothing, where there is none


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: numbers stand right and are never cut, text stands left."""

    name: str
    cells: Sequence[str]

    @property
    def numeric(self) -> bool:
        return all(re.fullmatch(_NUMBER, cell) for cell in self.cells)

    @property
    def widest(self) -> int:
        return max(map(len, (self.name, *self.cells)))

    @property
    def narrowest(self) -> int:
        """Least width: all of a number, and enough of a name or a text to tell it by."""
        if not self.numeric:
            return min(self.widest, _TEXT_FLOOR)
        return max(min(len(self.name), _HEADER_FLOOR), *map(len, self.cells), 1)


def table(rows: Sequence[Sequence[str]], header: Sequence[str], width: int = 100) -> str:
    """Rows of text under their header, in lines of at most ``width`` characters.

    Where room is short, names of columns are broken over lines, then texts are cut (``..``), then
    columns go into further tables below, each with the first column again. Raises ValueError if a
    row has not as many cells as the header.
    """
    columns = [
        _Column(name, cells) for name, *cells in zip(header, *map(_one_line, rows), strict=True)
    ]
    return "\n\n".join(_render(block, width) for block in _blocks(columns, width))


def _one_line(row: Sequence[str]) -> list[str]:
    return [" ".join(cell.split()) for cell in row]


def _blocks(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Columns in groups that can be made to fit, the first column at the head of each."""
    first, *others = columns
    blocks, room = [[first]], width - first.narrowest
    for column in others:
        if room < column.narrowest + _GAP and len(blocks[-1]) > 1:
            blocks.append([first])
            room = width - first.narrowest
        blocks[-1].append(column)
        room -= column.narrowest + _GAP
    return blocks


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """As wide as the content, the widest made narrower until all fit."""
    widths = [column.widest for column in columns]
    floors = [column.narrowest for column in columns]
    for _ in range(sum(widths) + _GAP * (len(columns) - 1) - width):
        spare = [w if w > floor else 0 for w, floor in zip(widths, floors, strict=True)]
        widths[spare.index(max(spare))] -= 1
    return widths


def _render(columns: Sequence[_Column], width: int) -> str:
    widths = _widths(columns, width)
    names = [textwrap.wrap(c.name, w) or [""] for c, w in zip(columns, widths, strict=True)]
    depth = max(map(len, names))
    head = zip(*([""] * (depth - len(name)) + name for name in names), strict=True)
    body = zip(*(column.cells for column in columns), strict=True)
    lines = [*head, ["-" * w for w in widths], *body]
    return "\n".join(_line(cells, columns, widths) for cells in lines)


def _line(cells: Sequence[str], columns: Sequence[_Column], widths: Sequence[int]) -> str:
    placed = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        text = cell if len(cell) <= width else cell[: max(width - 2, 0)] + ".."
        placed.append(text.rjust(width) if column.numeric else text.ljust(width))
    return (" " * _GAP).join(placed).rstrip()
