"""The pool: every row that may be trained on, oldest first, kept as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.data import reasons
from adaptinf.data.rows import Dropped, printable
from adaptinf.data.sample import Sample, Turn
from adaptinf.errors import UserError

POOL_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
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

DROPPED_SCHEMA = pa.schema(
    [
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
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
    def from_rows(cls, rows: Iterable[PoolRow]) -> PoolTable:
        """A pool of these rows, in this order. Raises ``ValueError`` if a uid comes twice."""
        builder = PoolBuilder(cls.empty(), retired=())
        for row in rows:
            builder.add(row)
        return builder.finish()

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

    def take(self, positions: Sequence[int] | np.ndarray) -> PoolTable:
        """The rows at these positions, in the order given."""
        return PoolTable(self.table.take(pa.array(positions, type=pa.int64())))

    def concat(self, newer: PoolTable) -> PoolTable:
        """This pool followed by a newer one."""
        return PoolTable(pa.concat_tables([self.table, newer.table]))


class PoolBuilder:
    """Adds rows to a pool such that no uid is ever used twice.

    ``retired`` holds the uids that were pruned earlier: they do not come back.
    """

    def __init__(self, pool: PoolTable, retired: Collection[str]) -> None:
        self._tables = [pool.table]
        self._waiting: list[PoolRow] = []
        self._known = set(pool.uids)
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
            self._flush()

    def finish(self) -> PoolTable:
        """The pool with everything that was added."""
        self._flush()
        return PoolTable(pa.concat_tables(self._tables))

    def _flush(self) -> None:
        records = [_record(row) for row in self._waiting]
        self._tables.append(pa.Table.from_pylist(records, schema=POOL_SCHEMA))
        self._waiting.clear()


def places(uids: Iterable[str], among: Sequence[str]) -> NDArray[np.int64]:
    """The position of each of the ``uids`` ``among`` others, -1 where it is not."""
    place = {uid: position for position, uid in enumerate(among)}
    return np.array([place.get(uid, -1) for uid in uids], dtype=np.int64)


def write_pool(path: Path, pool: PoolTable) -> None:
    """Writes the pool; the same rows give the same bytes."""
    _write(path, pool.table)


def read_pool(path: Path) -> PoolTable:
    """The pool in a file. Raises ``UserError`` if it is not one."""
    return _read(path, PoolTable)


def write_dropped(path: Path, dropped: Iterable[Dropped]) -> None:
    """Writes the rows that were dropped, with their reasons, in the order given."""
    records = [
        {
            "source_id": printable(row.source_id),
            "dataset": row.dataset,
            "row": row.row,
            "reason": row.reason,
            "detail": printable(row.detail),
        }
        for row in dropped
    ]
    _write(path, pa.Table.from_pylist(records, schema=DROPPED_SCHEMA))


def read_dropped(path: Path) -> list[Dropped]:
    """The rows that ``write_dropped`` wrote. Raises ``UserError`` if the file holds others."""
    return _read(path, lambda table: [Dropped(**record) for record in table.to_pylist()])


def _write(path: Path, table: pa.Table) -> None:
    # Pages follow the chunks of a table; in row groups of one chunk each, the bytes do not tell
    # how it was put together.
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = table.replace_schema_metadata(None)
    with pq.ParquetWriter(path, plain.schema, compression="zstd", compression_level=3) as writer:
        for start in range(0, len(plain), _ROWS_PER_GROUP):
            writer.write_table(plain.slice(start, _ROWS_PER_GROUP).combine_chunks())


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
