"""Rows of Parquet files, and of folders that ``datasets`` saved, as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.errors import UserError

_ROWS_PER_READ = 256


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is what ``Dataset.save_to_disk`` writes."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def column_names(path: Path) -> list[str]:
    """The columns of a table. Raises ``UserError`` for a file that is none."""
    if path.is_dir():
        return list(_saved(path).column_names)
    with _opened(path) as table:
        return list(table.schema_arrow.names)


def row_count(path: Path) -> int:
    """Rows of a table, without reading them. Raises ``UserError`` for a file that is none."""
    if path.is_dir():
        return len(_saved(path))
    with _opened(path) as table:
        return int(table.metadata.num_rows)


def rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file or of a saved dataset, images in it undecoded.

    Raises ``UserError`` for anything else, and where one of the ``columns`` is missing.
    """
    if columns is not None:
        names = column_names(path)
        if not set(columns) <= set(names):
            hint = f"expected {', '.join(columns)}"
            raise UserError("columns are missing", where=str(path), seen=sorted(names), hint=hint)
    if path.is_dir():
        for batch in _saved(path).with_format("arrow").iter(_ROWS_PER_READ):
            yield from batch.to_pylist()
        return
    try:
        with _opened(path) as table:
            for batch in table.iter_batches(
                _ROWS_PER_READ, columns=None if columns is None else list(columns)
            ):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _saved(path: Path) -> Any:
    from datasets import Dataset

    try:
        return Dataset.load_from_disk(str(path))
    except Exception as error:  # what is wrong in a folder, datasets tells in many ways
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError("the table cannot be read", where=str(path), seen=str(error))
