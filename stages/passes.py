"""Run rows of a pool through a model by batches: on all ranks, resumable, within the memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from adaptinf.data.pool import PoolTable
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.features.batched import BatchedArrays
from stages.batches import Positions
from stages.context import Context
from stages.work import Progress

F = TypeVar("F")
K = TypeVar("K", contravariant=True)
S = TypeVar("S", bound="Store[Any]")

_RANKS = "ranks"


class Store(Protocol[K]):
    """Where the features of planned batches are kept."""

    @property
    def arrays(self) -> BatchedArrays:
        """What is filled batch by batch."""

    @property
    def pending(self) -> list[int]:
        """Numbers of the batches still to be computed."""

    def write(self, number: int, features: K, parts: int = 1) -> None:
        """Keep the features of a batch, which was computed in so many parts."""


@dataclass(frozen=True, slots=True)
class PoolPass(Generic[F]):
    """Computes the features of planned ``batches`` of the pool's rows.

    ``compute`` takes a batch as the collator makes it, ``join`` puts those of a batch's parts
    together.
    """

    context: Context
    pool: PoolTable
    batches: Sequence[Positions]
    compute: Callable[[dict[str, Any]], F]
    join: Callable[[Sequence[F]], F]

    def fill(self, store: Store[F], pending: Sequence[int], progress: Progress) -> None:
        """Compute this rank's share of the pending batches.

        A batch that does not fit the memory is computed in halves, and so are all that follow; the
        store is told, so that a resumed pass does likewise.

        Raises:
            UserError: a single row does not fit.
        """
        ranks = self.context.ranks
        rows = sum(map(len, self.batches))
        progress.total(rows, rows - sum(len(self.batches[i]) for i in pending))
        mine = list(ranks.share(pending))
        rounds = iter([pending[i : i + ranks.size] for i in range(0, len(pending), ranks.size)])
        parts = int(max(store.arrays.parts, default=1))
        while mine:
            try:
                for number, features in self._computed(mine, parts):
                    store.write(number, features, parts)
                    mine.remove(number)
                    progress.advance(sum(len(self.batches[i]) for i in next(rounds)))
                return
            except Exception as error:
                from adaptinf.features.memory import free_memory, is_out_of_memory

                if not is_out_of_memory(error):
                    raise
                if parts >= len(self.batches[mine[0]]):
                    raise self._too_long(mine[0]) from error
            parts *= 2
            free_memory()
            progress.note(f"out of memory: batches are computed in {parts} parts from here on")

    def _computed(self, numbers: Sequence[int], parts: int) -> Iterator[tuple[int, F]]:
        """Features of whole batches, each computed in so many parts."""
        pieces = [
            (number, piece)
            for number in numbers
            for piece in np.array_split(self.batches[number], parts)
            if len(piece)
        ]
        done: list[F] = []
        rows = 0
        loaded = self._loaded([piece for _, piece in pieces])
        for (number, piece), batch in zip(pieces, loaded, strict=True):
            done.append(self.compute(batch))
            rows += len(piece)
            if rows == len(self.batches[number]):
                yield number, done[0] if len(done) == 1 else self.join(done)
                done, rows = [], 0

    def _loaded(self, pieces: Sequence[Positions]) -> Iterator[dict[str, Any]]:
        """Batches as the collator makes them, ahead of their use where there are workers."""
        import torch
        from torch.utils.data import DataLoader

        return iter(
            DataLoader(
                _Samples(self.pool),  # type: ignore[arg-type]
                batch_sampler=[piece.tolist() for piece in pieces],
                collate_fn=self.context.collator,
                num_workers=self.context.recipe.data.workers,
                pin_memory=torch.accelerator.is_available(),
            )
        )

    def _too_long(self, number: int) -> UserError:
        row = int(self.batches[number][0])
        return UserError(
            "one row, of so many tokens, does not fit the memory",
            where=self.pool.uids[row],
            seen=int(self.pool.numbers("n_tokens")[row]),
            hint="lower data.max_length, or take a smaller model.dtype",
        )


@dataclass(frozen=True, slots=True)
class _Samples:
    """The pool as a dataset of samples."""

    pool: PoolTable

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> Any:
        return self.pool.sample(position)


def filled_by_ranks(
    ranks: Ranks,
    folder: Path,
    open_store: Callable[[Path], S],
    fill: Callable[[S, list[int]], None],
) -> S:
    """The store in ``folder`` with no batch pending, of which each rank has filled its share.

    Ranks other than the first keep what they compute in stores of their own until it is gathered:
    they may run on machines where a common file is no place to write at the same time. What an
    earlier launch left there is gathered before. Only the leader gets the whole.
    """
    store: S | None = None
    if ranks.leads:
        store = open_store(folder)
        _gather(store, folder / _RANKS, open_store)
    ranks.meet()
    store = store or open_store(folder)
    pending = store.pending
    ranks.meet()
    if not pending:
        return store
    if not ranks.leads:
        store = open_store(folder / _RANKS / str(ranks.rank))
    fill(store, pending)
    ranks.meet()
    if ranks.leads:
        _gather(store, folder / _RANKS, open_store)
    return store


def _gather(store: Any, folder: Path, open_store: Callable[[Path], Any]) -> None:
    if folder.is_dir():
        for part in sorted(folder.iterdir()):
            store.arrays.absorb(open_store(part).arrays)
        shutil.rmtree(folder)
