"""A page of rows before anything is trained: their pictures, and what of them bears the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptinf.data.masks import Piece
from adaptinf.files import write_atomically
from adaptinf.report.gallery import Thumbnail
from adaptinf.report.rendering import render

PICTURES = 8
"""Pictures of a row that are shown."""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row: its own id, its pictures (None for one that cannot be shown), its pieces."""

    source_id: str
    pictures: Sequence[Thumbnail | None]
    more: int
    pieces: Sequence[Piece]
    tokens: int
    skill: str | None


@dataclass(frozen=True, slots=True)
class ShownSet:
    """A dataset: what was found of it, and some of its rows.

    ``facts`` are words about it, ``problems`` and ``notes`` are counts by reason.
    """

    name: str
    facts: Mapping[str, str]
    problems: Mapping[str, int]
    notes: Mapping[str, int]
    rows: Sequence[ShownRow]


def write_rows_page(file: Path, title: str, sets: Sequence[ShownSet]) -> None:
    """Write the page, which fetches nothing."""
    text = render("rows.html.j2", title=title, sets=sets)
    # Text of a data set may hold half a surrogate pair, which UTF-8 cannot carry.
    write_atomically(file, text.encode(errors="replace"))
