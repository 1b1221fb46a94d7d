"""Rows of like lengths in one batch, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from adaptinf.data.sample import Sample


class GroupedRows(Sequence[Sample]):
    """Rows in an order of every epoch's own, in which each ``batch`` of rows is of like lengths.

    The order is planned from seed, epoch and lengths alone: it is the same on all ranks, and to a
    training that goes on from a checkpoint (that of the Trainer's own sampler hangs on how many
    random numbers were drawn before).
    """

    def __init__(
        self, rows: Sequence[Sample], lengths: Sequence[int], batch: int, seed: int
    ) -> None:
        self._rows = rows
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch; data loaders call it."""
        self._order = grouped_order(self._lengths, self._batch, self._seed + epoch)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Sample:  # type: ignore[override]
        return self._rows[self._order[position]]


def grouped_order(lengths: Sequence[int], batch: int, seed: int) -> list[int]:
    """Positions of all rows such that each ``batch`` of them, one after the other, is alike.

    Transformers sorts the rows of up to 50 batches, drawn at random, by length. Its batches become
    ever shorter that way, 50 times in a row; here they are drawn anew, but for the first, which has
    the longest row, so that what does not fit the memory is met at once, and a last one of fewer
    rows.
    """
    draw = torch.Generator().manual_seed(seed)
    rows = get_length_grouped_indices(list(lengths), batch, generator=draw)
    whole = len(rows) // batch
    order = [0, *(1 + torch.randperm(max(whole - 1, 0), generator=draw)).tolist()][:whole]
    drawn = [row for number in order for row in rows[number * batch : (number + 1) * batch]]
    return drawn + rows[whole * batch :]
