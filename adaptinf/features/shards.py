"""One long matrix kept as .npy files of a bounded number of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

SHARD_ROWS = 65_536


class Shards:
    """Rows [n, width] in dataset order over ``name-00000.npy``, ``name-00001.npy`` and so on."""

    def __init__(self, files: Sequence[Path], mode: Literal["r", "r+"], shard_rows: int) -> None:
        """The matrix that lies in ``files``, each but the last of ``shard_rows`` rows."""
        self._parts = [np.load(file, mmap_mode=mode, allow_pickle=False) for file in files]
        self._rows = shard_rows

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        rows: int,
        width: int,
        shard_rows: int,
        dtype: DTypeLike = np.float16,
    ) -> Shards:
        """A new matrix of zeros; one of no rows has one file too.

        Its room on the disk is taken at once: a mapped file with holes ends the process by a signal
        (SIGBUS) when it meets a full disk. Raises ``OSError`` where there is no such room.
        """
        files = _files(folder, name, rows, shard_rows)
        for file, start in zip(files, range(0, max(rows, 1), shard_rows), strict=True):
            shape = (min(shard_rows, rows - start), width)
            open_memmap(file, mode="w+", dtype=dtype, shape=shape)
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
        return cls(files, "r+", shard_rows)

    @classmethod
    def open(
        cls, folder: Path, name: str, rows: int, shard_rows: int, mode: Literal["r", "r+"]
    ) -> Shards:
        """The matrix ``name`` of so many rows in ``folder``; other files there are none of it.

        Raises:
            FileNotFoundError: a file of it is missing.
        """
        return cls(_files(folder, name, rows, shard_rows), mode, shard_rows)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Copies of the given rows, in their order."""
        taken = np.empty((len(rows), self._parts[0].shape[1]), self._parts[0].dtype)
        for part, chosen, places in self._split(rows):
            taken[chosen] = part[places]
        return taken

    def put(self, rows: NDArray[np.int64], values: NDArray[np.floating[Any]]) -> None:
        """Store ``values`` at the given rows; they are on disk when this returns."""
        for part, chosen, places in self._split(rows):
            part[places] = values[chosen]
            part.flush()

    def whole(self) -> NDArray[Any]:
        """The whole matrix: the file itself, mapped, if there is one, otherwise a copy of all."""
        return self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)

    def _split(self, rows: NDArray[np.int64]) -> Iterator[tuple[np.memmap, Any, Any]]:
        """Per file that is touched: which of ``rows`` lie in it, and where."""
        numbers = rows // self._rows
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            yield self._parts[number], chosen, rows[chosen] - number * self._rows


def _files(folder: Path, name: str, rows: int, shard_rows: int) -> list[Path]:
    count = len(range(0, max(rows, 1), shard_rows))
    return [folder / f"{name}-{number:05d}.npy" for number in range(count)]
