"""One reader per dataset format. Each has ``read(source, media)`` and yields raw rows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptinf.data.rows import RawRow
    from adaptinf.data.source import Source


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """The rows of a source, by the reader of its format, in an order that never changes.

    Images that come inside the annotations are written below ``media``. A row that cannot be read
    is yielded with its problem. Raises ``UserError`` if the files as a whole are not of the format.
    """
    reader = import_module(f"{__name__}.{source.format}")
    rows: Iterator[RawRow] = reader.read(source, media)
    return rows
