"""Batches of a training: whose rows they are, and what goes along for other ranks' sake.

Rows that go along have no label, and so add nothing to loss and gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback, TrainerState

from adaptinf.data.collator import Collator
from adaptinf.data.encoder import IGNORED
from adaptinf.data.sample import Sample
from adaptinf.training.grouping import GroupedRows

UIDS = "uids"
"""Key of a batch's uids."""


class Row(NamedTuple):
    """A sample, and whether it is trained on or only goes along."""

    sample: Sample
    counts: bool = True


class Rows(Dataset[Row]):
    """Samples as a training's rows; one that is counted from the end only goes along."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Row:
        return Row(self._samples[index], index >= 0)

    def set_epoch(self, epoch: int) -> None:
        """Have samples of a planned order in that of an epoch; data loaders call it."""
        if isinstance(self._samples, GroupedRows):
            self._samples.set_epoch(epoch)


class EvenOrder(Sampler[int], TrainerCallback):
    """Another order of ``Rows``, with the last batch filled up by a row that only goes along.

    All ranks then have equal parts of every batch, and its loss is that of one rank. Heard as a
    callback, it has the order of the epoch that a training goes on in: where batches are passed
    over after a resume, Accelerate's own ``set_epoch`` does not reach it (1.15).
    """

    def __init__(self, order: Any, batch_size: int) -> None:
        self._order = order
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._order) + -len(self._order) % self._batch_size

    def __iter__(self) -> Iterator[int]:
        yield from self._order
        yield from [-1] * (len(self) - len(self._order))

    def on_epoch_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Have the order of this epoch."""
        if hasattr(self._order, "set_epoch"):
            self._order.set_epoch(int(state.epoch or 0))


@dataclass(frozen=True, slots=True)
class TrainingCollator:
    """Rows to a batch with the uids of those that count.

    A batch of text only does not pass through the vision tower. Where parameters or gradients are
    in parts on several ranks (ZeRO), a rank with such a batch would leave those waiting that have
    images. ``companion``, a sample with an image, goes along with it then.
    """

    collator: Collator
    companion: Sample | None = None

    @classmethod
    def for_ranks(cls, collator: Collator, samples: Sequence[Sample]) -> Self:
        """For ranks that go through all modules together; one of these samples goes along."""
        seeing = [sample for sample in samples if sample.images]
        return cls(collator, min(seeing, key=lambda sample: len(sample.images), default=None))

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One batch as the model takes it, and ``UIDS``."""
        if self.companion and not any(row.sample.images for row in rows):
            rows = [*rows, Row(self.companion, counts=False)]
        batch = self.collator([row.sample for row in rows])
        batch["labels"][[not row.counts for row in rows]] = IGNORED
        return {**batch, UIDS: [row.sample.uid for row in rows if row.counts]}
