"""One reader per dataset format. Each has ``read(source, media)`` and yields raw rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from adaptinf.data.names import FORMATS
from adaptinf.data.rows import RawRow
from adaptinf.errors import UserError
from adaptinf.plugins import load_function

if TYPE_CHECKING:
    from adaptinf.data.source import Source

    Reader = Callable[[Source, Path], Iterator[RawRow]]

GROUP = "adaptinf.readers"
"""Entry points by which an installed package brings formats of its own."""


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """The rows of a source, by the reader of its format, in an order that never changes.

    Images that come inside the annotations are written below ``media``. A row that cannot be read
    is yielded with its problem. Raises ``UserError`` if the files as a whole are not of the format,
    or if a reader from outside fails.
    """
    if source.plugin is None and source.format in FORMATS:
        yield from import_module(f"{__name__}.{source.format}").read(source, media)
        return
    number = 0
    try:
        for number, row in enumerate(_from_outside(source)(source, media)):
            if not isinstance(row, RawRow) or row.row != number:
                raise TypeError(f"expected a RawRow of row {number}, not {row!r:.200}")
            yield row
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the reader failed: {type(error).__name__}: {error}",
            where=f"{source.format}, after row {number} of {source.annotations}",
        ) from error


def _from_outside(source: Source) -> Reader:
    if source.plugin is None:
        (entry,) = entry_points(group=GROUP, name=source.format)
        reader: Reader = entry.load()
        return reader
    named: Reader = load_function(source.plugin, source.format)
    return named
