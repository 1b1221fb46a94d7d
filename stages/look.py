"""A first look at a task's dataset: how many rows, and what the first of them are like."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from adaptinf.data.ingest import ingest
from adaptinf.data.pool import PoolBuilder, PoolTable
from adaptinf.data.source import count_rows
from stages.context import Context

LOOK_ROWS = 256


@dataclass(frozen=True, slots=True)
class TaskLook:
    """What the annotation files and their first rows tell.

    ``rows`` are all rows of the files, ``seen`` those read, ``pool`` the usable ones among these;
    ``problems`` counts the others, ``noted`` what is odd about those kept. ``seconds`` is what
    ingesting one row takes, ``media_bytes`` what its images take on disk when they come inside the
    annotations.
    """

    label: str
    rows: int
    limit: int | None
    seen: int
    pool: PoolTable
    problems: Mapping[str, int]
    noted: Mapping[str, int]
    seconds: float
    media_bytes: float

    @property
    def usable(self) -> int:
        """Rows that will enter the pool, if all are like those seen."""
        found = round(self.rows * len(self.pool) / self.seen)
        return found if self.limit is None else min(found, self.limit)

    @property
    def to_read(self) -> int:
        """Rows that are read to find the usable ones."""
        if self.limit is None or self.usable < self.limit:
            return self.rows
        return min(self.rows, math.ceil(self.limit * self.seen / len(self.pool)))

    @property
    def tokens(self) -> float:
        """Mean length of a row in tokens, images included."""
        return float(self.pool.numbers("n_tokens").mean())

    @property
    def row_bytes(self) -> float:
        """What a row of the pool takes, images apart."""
        return float(self.pool.table.nbytes / len(self.pool))


def look_at(context: Context, label: str, *, measured: bool = True) -> TaskLook:
    """Read the first rows as the ingest stage does, into a pool that is thrown away.

    Without ``measured`` no row is measured by the model's processor: all have length 0.

    Raises:
        UserError: not one row can be used.
    """
    source = context.sources[label]
    limit = next(task.limit for task in context.recipe.tasks if task.label == label)
    clock: list[float] = []
    media = context.media(label)
    tables: list[pa.Table] = []
    looked = ingest(
        source,
        PoolBuilder(tables.append),
        context.encoder if measured else None,
        1,
        media=media,
        limit=min(LOOK_ROWS, limit or LOOK_ROWS),
        progress=lambda rows: clock.append(time.perf_counter()),
        admission=context.admission(label),
    )
    stored = sum(file.stat().st_size for file in media.rglob("*") if file.is_file())
    return TaskLook(
        label=label,
        rows=count_rows(source, media),
        limit=limit,
        seen=looked.counts.rows_in,
        pool=PoolTable.of(tables),
        problems=looked.counts.dropped,
        noted=looked.counts.noted,
        # The first row bears the opening of the files.
        seconds=(clock[-1] - clock[0]) / max(1, len(clock) - 1),
        media_bytes=stored / looked.counts.rows_in,
    )
