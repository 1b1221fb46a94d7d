"""Which rows of a pool share a batch of a forward pass."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from adaptinf.data.pool import PoolTable
from adaptinf.features.batches import plan_batches

Positions = NDArray[np.int64]


def pool_batches(pool: PoolTable, rows: Positions, batch_tokens: int) -> list[Positions]:
    """Batches of the pool's ``rows``, as places among these; text-only rows keep to themselves."""
    lengths = pool.numbers("n_tokens")[rows]
    with_image = pc.list_value_length(pool.table["images"]).to_numpy() > 0
    return plan_batches(lengths, batch_tokens, group=with_image[rows])
