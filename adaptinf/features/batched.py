"""Matrices of many rows that are filled batch by batch, and survive a kill at any moment."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptinf.features.shards import Shards
from adaptinf.files import write_atomically

Batches = Sequence[NDArray[np.int64]]

_DONE, _PARTS = "done.npy", "parts.npy"
_COPIED_ROWS = 8192


class BatchedArrays:
    """Shards by name, filled in planned ``batches`` of rows.

    While it is being filled ``done.npy`` has a flag per batch, set once the batch is on disk, and
    ``parts.npy`` says in how many parts it was computed. A kill loses the batch that was in hand.
    """

    def __init__(self, folder: Path, batches: Batches, shards: Mapping[str, Shards]) -> None:
        """Arrays in ``folder`` that ``begin`` has made."""
        self._batches = batches
        self.shards = shards
        self._done = np.load(folder / _DONE, mmap_mode="r+", allow_pickle=False)
        self._parts = np.load(folder / _PARTS, mmap_mode="r+", allow_pickle=False)

    @staticmethod
    def begin(folder: Path, batches: Batches) -> None:
        """The marks of batches of which none is done; by the last of them it is begun."""
        _save(folder / _PARTS, np.ones(len(batches), np.int64))
        _save(folder / _DONE, np.zeros(len(batches), np.bool_))

    @staticmethod
    def are_begun(folder: Path) -> bool:
        """Whether there is something to go on with."""
        return (folder / _DONE).exists()

    @property
    def pending(self) -> list[int]:
        """Numbers of the batches still to be computed, in order."""
        return np.flatnonzero(~self._done).tolist()

    @property
    def parts(self) -> NDArray[np.int64]:
        """In how many parts each batch was computed; 1 as long as it is pending."""
        return np.array(self._parts)

    def put(self, number: int, values: Mapping[str, NDArray[Any]], parts: int = 1) -> None:
        """Keep what was computed for a batch; once this returns it survives a kill."""
        for name, rows in values.items():
            self.shards[name].put(self._batches[number], rows)
        self._parts[number] = parts
        self._parts.flush()
        self._done[number] = True
        self._done.flush()

    def copy(self, theirs: Mapping[str, Shards | NDArray[Any]], mapping: NDArray[np.int64]) -> None:
        """Rows from elsewhere, bit by bit: ``mapping`` [rows] is their place there, -1 for none.

        ``theirs`` are shards or arrays by name.
        """
        copied = np.flatnonzero(mapping >= 0)
        for start in range(0, len(copied), _COPIED_ROWS):
            rows = copied[start : start + _COPIED_ROWS]
            for name, source in theirs.items():
                self.shards[name].put(rows, source[mapping[rows]])

    def absorb(self, other: BatchedArrays) -> None:
        """All batches that another has done of the same plan, and this one has not."""
        for number in sorted(set(self.pending).difference(other.pending)):
            rows = self._batches[number]
            values = {name: shards[rows] for name, shards in other.shards.items()}
            self.put(number, values, int(other.parts[number]))

    @staticmethod
    def end(folder: Path) -> None:
        """Remove the marks: all is done."""
        for name in (_DONE, _PARTS):
            (folder / name).unlink(missing_ok=True)


def _save(file: Path, marks: NDArray[Any]) -> None:
    content = io.BytesIO()
    np.save(content, marks, allow_pickle=False)
    write_atomically(file, content.getvalue())
