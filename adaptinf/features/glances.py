"""First looks at a pool on disk: one short vector per row, written batch by batch, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.features.shards import SHARD_ROWS, Shards

_NAME = "glances"


class GlanceStore:
    """Vectors [rows, width] in pool order, ``glances-*.npy``, and whose they are, ``rows.parquet``.

    Until all are there ``done.npy`` has a flag per planned batch, set once the batch is on disk: a
    pass that is killed loses the batch it was in.
    """

    def __init__(
        self, folder: Path, rows: int, width: int, batches: Sequence[NDArray[np.int64]]
    ) -> None:
        """The store in ``folder``, to go on with, or an empty one."""
        self._folder = folder
        self._batches = batches
        flags = folder / "done.npy"
        if not flags.exists():
            folder.mkdir(parents=True, exist_ok=True)
            Shards.create(folder, _NAME, rows, width, SHARD_ROWS)
            np.save(flags, np.zeros(len(batches), np.bool_), allow_pickle=False)
        self._vectors = Shards.open(folder, _NAME, SHARD_ROWS, "r+")
        self._done = np.load(flags, mmap_mode="r+", allow_pickle=False)

    @property
    def pending(self) -> list[int]:
        """Numbers of the batches still to be looked at, in order."""
        return np.flatnonzero(~self._done).tolist()

    def write(self, number: int, vectors: NDArray[np.floating[Any]]) -> None:
        """Keep the vectors of batch ``number``; once this returns they survive a kill."""
        self._vectors.put(self._batches[number], vectors)
        self._done[number] = True
        self._done.flush()

    def rows_from(self, folder: Path, mapping: NDArray[np.int64]) -> None:
        """Copy rows from the finished store in ``folder``: ``mapping`` [rows], -1 for none."""
        rows = np.flatnonzero(mapping >= 0)
        theirs = Shards.open(folder, _NAME, SHARD_ROWS, "r")
        for start in range(0, len(rows), SHARD_ROWS):
            part = rows[start : start + SHARD_ROWS]
            self._vectors.put(part, theirs.take(mapping[part]))

    def finish(self, uids: Sequence[str]) -> NDArray[np.float16]:
        """All vectors; what only a running pass needs is removed."""
        table = pa.table({"uid": pa.array(uids, pa.string())})
        pq.write_table(table, self._folder / "rows.parquet")
        (self._folder / "done.npy").unlink()
        return self._vectors.whole()


def glanced_rows(folder: Path) -> list[str]:
    """Uids of the rows of a finished store, in its order; none where there is no store."""
    file = folder / "rows.parquet"
    uids: list[str] = pq.read_table(file)["uid"].to_pylist() if file.is_file() else []
    return uids
