"""The pool: every row that may be trained on, oldest first, kept as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.data import reasons
from adaptinf.data.images import ImageInfo
from adaptinf.data.rows import Remark, printable
from adaptinf.data.sample import Sample, Turn
from adaptinf.errors import UserError

POOL_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("source", pa.string()),
        pa.field("task", pa.string()),
        pa.field("skill", pa.string()),
        pa.field("arrived", pa.int32(), nullable=False),
        pa.field("images", pa.list_(pa.string()), nullable=False),
        pa.field(
            "turns",
            pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("text", pa.string())])),
            nullable=False,
        ),
        pa.field("n_tokens", pa.int32(), nullable=False),
    ]
)

_NEWER = ("source",)
"""Columns that pools of earlier releases lack; read from there they hold nothing."""

REMARK_SCHEMA = pa.schema(
    [
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("look", pa.uint64()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)

_ROWS_PER_BATCH = 4096
_ROWS_PER_GROUP = 65_536

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A sample with what the pool knows of it.

    ``arrived`` is the number of the step (1..) at which it came, ``n_tokens`` its length after
    image expansion, 0 when it was not measured.
    """

    sample: Sample
    arrived: int
    n_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PoolTable:
    """Rows of the pool in order of arrival. Raises ``ValueError`` for another schema."""

    table: pa.Table

    def __post_init__(self) -> None:
        if not self.table.schema.equals(POOL_SCHEMA):
            raise ValueError(f"not a pool: {self.table.schema}")

    @classmethod
    def empty(cls) -> PoolTable:
        """A pool without rows."""
        return cls(POOL_SCHEMA.empty_table())

    @classmethod
    def of(cls, tables: Iterable[pa.Table]) -> PoolTable:
        """The rows of these tables, one after the other."""
        return cls(pa.concat_tables([POOL_SCHEMA.empty_table(), *tables]))

    @classmethod
    def from_rows(cls, rows: Iterable[PoolRow]) -> PoolTable:
        """A pool of these rows, in this order. Raises ``ValueError`` if a uid comes twice."""
        tables: list[pa.Table] = []
        builder = PoolBuilder(tables.append)
        for row in rows:
            builder.add(row)
        builder.flush()
        return cls.of(tables)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def uids(self) -> list[str]:
        """The uid of every row."""
        return self.strings("uid")

    def strings(self, column: str) -> list[Any]:
        """A column as a Python list, ``None`` where a row has no value."""
        values: list[Any] = self.table.column(column).to_pylist()
        return values

    def numbers(self, column: str) -> np.ndarray:
        """A numeric column (``arrived``, ``n_tokens``) as an array [rows]."""
        values: np.ndarray = self.table.column(column).to_numpy()
        return values

    def row(self, position: int) -> PoolRow:
        """The row at a position. Raises ``IndexError`` outside of the pool."""
        if not 0 <= position < len(self):
            raise IndexError(f"row {position} of a pool of {len(self)}")
        return _row(self.table.slice(position, 1).to_pylist()[0])

    def sample(self, position: int) -> Sample:
        """The sample at a position. Raises ``IndexError`` outside of the pool."""
        return self.row(position).sample

    def samples(self, positions: Sequence[int] | np.ndarray) -> list[Sample]:
        """The samples at these positions, in the order given."""
        return [_row(record).sample for record in self.take(positions).table.to_pylist()]

    def take(self, positions: Sequence[int] | np.ndarray) -> PoolTable:
        """The rows at these positions, in the order given."""
        # Taken from all chunks at once, nested columns cost ten times as much (1,000 of 300,000
        # rows: 45 ms against 4).
        wanted = np.asarray(positions, dtype=np.int64)
        batches = self.table.to_batches()
        ends = np.cumsum([len(batch) for batch in batches], dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a pool of {len(self)}")
        holder = np.searchsorted(ends, wanted, side="right")
        places = [np.flatnonzero(holder == number) for number in range(len(batches))]
        parts = [
            batch.take(pa.array(wanted[at] - (end - len(batch))))
            for batch, end, at in zip(batches, ends, places, strict=True)
            if at.size
        ]
        taken = pa.Table.from_batches(parts, POOL_SCHEMA)
        if len(parts) > 1:
            order = np.argsort(np.concatenate(places), kind="stable")
            taken = taken.combine_chunks().take(pa.array(order))
        return PoolTable(taken)

    def concat(self, newer: PoolTable) -> PoolTable:
        """This pool followed by a newer one."""
        return PoolTable(pa.concat_tables([self.table, newer.table]))


class PoolBuilder:
    """Adds rows to a pool such that no uid is ever used twice.

    ``known`` are the uids that are in the pool, ``retired`` those that were pruned earlier and do
    not come back. Rows are handed to ``keep`` in tables of some thousands, the last ones on
    ``flush``.
    """

    def __init__(
        self,
        keep: Callable[[pa.Table], object],
        known: Iterable[str] = (),
        retired: Collection[str] = (),
    ) -> None:
        self._keep = keep
        self._waiting: list[PoolRow] = []
        self._known = set(known)
        self._retired = frozenset(retired)

    def repeats(self, uid: str) -> str | None:
        """Why a row of this uid cannot be added ("exact-duplicate", "seen-before"), or ``None``."""
        if uid in self._known:
            return reasons.EXACT_DUPLICATE
        return reasons.SEEN_BEFORE if uid in self._retired else None

    def add(self, row: PoolRow) -> None:
        """Appends a row. Raises ``ValueError`` for one that repeats."""
        uid = row.sample.uid
        reason = self.repeats(uid)
        if reason:
            raise ValueError(f"{uid}: {reason}")
        self._known.add(uid)
        self._waiting.append(row)
        if len(self._waiting) == _ROWS_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand on what was added since the last time."""
        if self._waiting:
            records = [_record(row) for row in self._waiting]
            self._keep(pa.Table.from_pylist(records, schema=POOL_SCHEMA))
            self._waiting.clear()


class TableWriter:
    """A Parquet file that is written as rows come: the same rows give the same bytes.

    Pages follow the chunks of a table; in row groups of one chunk each, the bytes do not tell how
    it was put together. Memory is that of one group.
    """

    def __init__(self, path: Path, schema: pa.Schema = POOL_SCHEMA) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = schema.remove_metadata()
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3)
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._rows:
                self._write(pa.concat_tables(self._waiting))
        finally:
            self._file.close()

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if not len(table):
            return
        self._waiting.append(table.replace_schema_metadata(None))
        self._rows += len(table)
        if self._rows >= _ROWS_PER_GROUP:
            waiting = pa.concat_tables(self._waiting)
            whole = len(waiting) - len(waiting) % _ROWS_PER_GROUP
            for start in range(0, whole, _ROWS_PER_GROUP):
                self._write(waiting.slice(start, _ROWS_PER_GROUP))
            self._waiting = [waiting.slice(whole)]
            self._rows = len(waiting) - whole

    def _write(self, group: pa.Table) -> None:
        self._file.write_table(group.combine_chunks())


def places(uids: Iterable[str], among: Sequence[str]) -> NDArray[np.int64]:
    """The position of each of the ``uids`` ``among`` others, -1 where it is not."""
    place = {uid: position for position, uid in enumerate(among)}
    return np.array([place.get(uid, -1) for uid in uids], dtype=np.int64)


def write_pool(path: Path, pool: PoolTable) -> None:
    """Writes the pool; the same rows give the same bytes."""
    _write(path, pool.table)


def read_pool(path: Path) -> PoolTable:
    """The pool in a file. Raises ``UserError`` if it is not one."""
    return _read(path, lambda table: PoolTable(_current(table)))


def stream_pool(path: Path) -> Iterator[pa.Table]:
    """The tables that a pool's file consists of, some thousand rows each; raises as above."""
    try:
        with pq.ParquetFile(path) as file:
            PoolTable(_current(file.schema_arrow.empty_table()))
            for batch in file.iter_batches(_ROWS_PER_BATCH):
                yield PoolTable(_current(pa.Table.from_batches([batch]))).table
    except (OSError, ValueError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error


def _current(table: pa.Table) -> pa.Table:
    """The table with empty columns where it is of an earlier release."""
    for position, field in enumerate(POOL_SCHEMA):
        if field.name in _NEWER and field.name not in table.column_names:
            table = table.add_column(position, field, pa.nulls(len(table), field.type))
    return table


def write_remarks(path: Path, remarks: Iterable[Remark]) -> None:
    """Writes what is said of rows (that they were dropped, and why), in the order given."""
    records = [
        {
            "source_id": printable(row.source_id),
            "dataset": row.dataset,
            "row": row.row,
            "reason": row.reason,
            "detail": printable(row.detail),
        }
        for row in remarks
    ]
    _write(path, pa.Table.from_pylist(records, schema=REMARK_SCHEMA))


def write_images(path: Path, images: Mapping[str, ImageInfo]) -> None:
    """Writes what is known of images, in the order of their names."""
    columns = {
        "name": sorted(images),
        **{
            key: [getattr(images[name], key) for name in sorted(images)]
            for key in ("digest", "look", "width", "height")
        },
    }
    _write(path, pa.table(columns, schema=IMAGE_SCHEMA))


def read_images(path: Path) -> dict[str, ImageInfo]:
    """Size and digest of images by name, out of what ``write_images`` wrote; else ``UserError``."""
    columns = ("name", "width", "height", "digest")

    def build(table: pa.Table) -> dict[str, ImageInfo]:
        rows = zip(*(table[column].to_pylist() for column in columns), strict=True)
        return {name: ImageInfo(*known) for name, *known in rows}

    return _read(path, build)


def read_remarks(path: Path) -> list[Remark]:
    """What ``write_remarks`` wrote. Raises ``UserError`` if the file holds something else."""
    return _read(path, lambda table: [Remark(**record) for record in table.to_pylist()])


def _write(path: Path, table: pa.Table) -> None:
    with TableWriter(path, table.schema) as writer:
        writer.write(table)


def _read(path: Path, build: Callable[[pa.Table], T]) -> T:
    try:
        return build(pq.read_table(path))
    except (OSError, ValueError, TypeError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error


def _record(row: PoolRow) -> dict[str, Any]:
    sample = row.sample
    return {
        "uid": sample.uid,
        "digest": sample.digest,
        "source_id": sample.source_id,
        "dataset": sample.dataset,
        "licence": sample.licence,
        "source": sample.source,
        "task": sample.task,
        "skill": sample.skill,
        "arrived": row.arrived,
        "images": list(sample.images),
        "turns": [{"role": turn.role, "text": turn.text} for turn in sample.turns],
        "n_tokens": row.n_tokens,
    }


def _row(record: dict[str, Any]) -> PoolRow:
    arrived, n_tokens = record.pop("arrived"), record.pop("n_tokens")
    images = tuple(record.pop("images"))
    turns = tuple(Turn(**turn) for turn in record.pop("turns"))
    return PoolRow(Sample(**record, images=images, turns=turns), arrived, n_tokens)
