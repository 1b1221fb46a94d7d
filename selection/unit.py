"""Rows as directions: which rows have one, and their unit vectors, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from selection.pool import Matrix, Positions

BLOCK_ROWS = 8192


def unit_rows(vectors: Matrix, rows: Positions, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """The given rows of ``vectors`` with L2 norm 1; they must be finite and not zero."""
    picked = np.array(vectors[rows], dtype=dtype)
    # Divided by the peak first: squares of very large or very small values leave the float range.
    picked /= np.abs(picked).max(axis=1, keepdims=True)
    picked /= np.linalg.norm(picked, axis=1, keepdims=True)
    return picked


def row_peaks(vectors: Matrix) -> NDArray[np.float32]:
    """Largest magnitude of each row as float32: 0 for a zero row, NaN or inf if any value is."""
    peaks = np.empty(len(vectors), dtype=np.float32)
    with np.errstate(over="ignore"):
        for block in blocks(len(vectors)):
            peaks[block] = np.abs(np.asarray(vectors[block], dtype=np.float32)).max(axis=1)
    return peaks


def blocks(n: int) -> Iterator[slice]:
    """Slices that cover n rows in order."""
    for start in range(0, n, BLOCK_ROWS):
        yield slice(start, start + BLOCK_ROWS)
