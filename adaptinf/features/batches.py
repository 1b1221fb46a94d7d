"""Which rows share a batch: planned from the data, so that a resumed pass has the same batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def plan_batches(
    lengths: ArrayLike, batch_tokens: int, group: ArrayLike | None = None
) -> list[NDArray[np.int64]]:
    """Row positions per batch: rows x longest row <= ``batch_tokens``, and at least one row.

    Rows of nearly equal ``lengths`` (tokens) come together, so that little is padded, the longest
    first, so that a batch too large for the memory is met at once; equal ones keep their order.
    Rows with different values in ``group`` never share a batch: with "has an image" as the group,
    text-only batches are spared the second forward of image grounding.

    Raises:
        ValueError: a length below 1, or columns of different length.
    """
    tokens = np.asarray(lengths, dtype=np.int64)
    groups = np.zeros_like(tokens) if group is None else np.asarray(group)
    if groups.shape != tokens.shape:
        raise ValueError(f"{len(tokens)} lengths, but {len(groups)} groups")
    if np.any(tokens < 1):
        raise ValueError(f"row {int(np.argmin(tokens))} has a length of {tokens.min()} tokens")
    batches: list[NDArray[np.int64]] = []
    for value in np.unique(groups):
        rows = np.flatnonzero(groups == value)
        rows = rows[np.argsort(-tokens[rows], kind="stable")]
        start = 0
        while start < len(rows):
            stop = start + max(1, batch_tokens // int(tokens[rows[start]]))
            batches.append(rows[start:stop])
            start = stop
    return batches
