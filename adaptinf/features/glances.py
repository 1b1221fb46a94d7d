"""First looks at a pool on disk: one short vector per row, written batch by batch, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.features.batched import BatchedArrays, Batches
from adaptinf.features.shards import SHARD_ROWS, Shards

_NAME = "glances"


class GlanceStore:
    """Vectors [rows, width] in pool order, ``glances-*.npy``, and whose they are, ``rows.parquet``.

    Filled batch by batch; begun once, it is gone on with.
    """

    def __init__(self, folder: Path, rows: int, width: int, batches: Batches) -> None:
        """The store in ``folder``, to go on with, or an empty one."""
        self._folder = folder
        if not BatchedArrays.are_begun(folder):
            folder.mkdir(parents=True, exist_ok=True)
            Shards.create(folder, _NAME, rows, width, SHARD_ROWS)
            BatchedArrays.begin(folder, batches)
        shards = {_NAME: Shards.open(folder, _NAME, rows, SHARD_ROWS, "r+")}
        self.arrays = BatchedArrays(folder, batches, shards)

    @property
    def pending(self) -> list[int]:
        """Numbers of the batches still to be looked at, in order."""
        return self.arrays.pending

    def write(self, number: int, features: NDArray[np.floating[Any]], parts: int = 1) -> None:
        """Keep the vectors of batch ``number``; once this returns they survive a kill."""
        self.arrays.put(number, {_NAME: features}, parts)

    def rows_from(self, folder: Path, mapping: NDArray[np.int64]) -> None:
        """Copy rows from the finished store in ``folder``: ``mapping`` [rows], -1 for none."""
        theirs = Shards.open(folder, _NAME, len(glanced_rows(folder)), SHARD_ROWS, "r")
        self.arrays.copy({_NAME: theirs}, mapping)

    @property
    def vectors(self) -> NDArray[np.float16]:
        """All vectors, mapped if in one file."""
        vectors: NDArray[np.float16] = self.arrays.shards[_NAME].whole()
        return vectors

    def finish(self, uids: Sequence[str]) -> None:
        """Say whose they are, and remove what only a running pass needs: done, not to go on with.

        Call it last: a store that is opened after it begins anew.
        """
        table = pa.table({"uid": pa.array(uids, pa.string())})
        pq.write_table(table, self._folder / "rows.parquet")
        BatchedArrays.end(self._folder)


def glanced_rows(folder: Path) -> list[str]:
    """Uids of the rows of a finished store, in its order; none where there is no store."""
    file = folder / "rows.parquet"
    uids: list[str] = pq.read_table(file)["uid"].to_pylist() if file.is_file() else []
    return uids
