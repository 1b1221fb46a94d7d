"""The processes of one launch (torchrun, accelerate, deepspeed): who is who, and meeting points.

Imports no torch until ranks meet.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from adaptinf.errors import UserError
from adaptinf.notice import Interrupted

T = TypeVar("T")

_POLL_SECONDS = 0.05
_STOPPED = "stopped"
_READ_SECONDS = 1.0
"""What others have to read a last word in."""

_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(slots=True)
class Ranks:
    """This process among ``size`` of them; rank 0 leads.

    Ranks meet at the launcher's own store, without a process group: a wait of hours, while the
    leader does what only one can do, meets no time-out of NCCL or gloo.
    """

    rank: int = 0
    size: int = 1
    waits: bool = False
    """Whether this rank is at a meeting point to which others are still to come."""
    moves: int = 0
    """Meetings, and whatever else has brought this rank further outside its batches."""
    _met: int = 0
    _store: Any = field(default=None, repr=False)

    @classmethod
    def of_launch(cls) -> Ranks:
        """As the launcher has set them in the environment; one rank where there is no launcher.

        Raises:
            UserError: the environment has a part of what a launcher sets.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        missing = [
            name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
        ]
        if missing:
            raise UserError(
                f"WORLD_SIZE is set, but not {', '.join(missing)}",
                where="environment",
                seen=size,
                hint="start with torchrun, accelerate launch or deepspeed, or unset WORLD_SIZE",
            )
        return cls(int(os.environ["RANK"]), size)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which does what only one can do."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of the items: every ``size``-th."""
        return items[self.rank :: self.size]

    def take_device(self) -> None:
        """Make the accelerator of this rank the one that models are put on."""
        if self.size > 1:
            import torch

            if torch.accelerator.is_available():
                torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", self.rank)))

    def move(self) -> None:
        """Count something that took its time and is over, as loading a model."""
        self.moves += 1

    def meet(self) -> None:
        """Return once all ranks have come as far; all call it equally often.

        Raises ``Interrupted`` where one of them has ended, by notice or an error.
        """
        if self.size == 1:
            return
        store = self._open()
        self._met += 1
        if store.add(f"met-{self._met}", 1) == self.size:
            store.set(f"go-{self._met}", b"1")
        self.waits = True
        while not store.check([f"go-{self._met}"]):
            if store.check([_STOPPED]):
                raise Interrupted
            time.sleep(_POLL_SECONDS)
        self.waits = False
        self.move()

    @contextmanager
    def stopping_together(self) -> Iterator[None]:
        """Inside, a rank that ends before its time has those end that wait for it."""
        try:
            yield
        except BaseException:
            if self._store is not None:
                with suppress(RuntimeError):  # whoever kept the store has gone before
                    self._store.set(_STOPPED, b"1")
                    time.sleep(self._keeps * _READ_SECONDS)
            raise

    def part(self) -> None:
        """The last meeting: the leader, who may keep the store, returns last."""
        self.meet()
        if self.size == 1:
            return
        _leave_group()
        gone = self._open().add("gone", 1)
        self.waits = True
        while self.leads and gone < self.size:
            time.sleep(_POLL_SECONDS)
            gone = self._open().add("gone", 0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, libraries that look for other ranks in the environment find none."""
        hidden = {name: os.environ.pop(name) for name in _LAUNCHED if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(hidden)

    @property
    def _keeps(self) -> bool:
        """Whether the store ends with this process."""
        return self.leads and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"

    def _open(self) -> Any:
        if self._store is None:
            from torch.distributed import PrefixStore, TCPStore

            store = TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                self.size,
                self._keeps,
                multi_tenant=True,
            )
            # A launcher that starts all ranks again keeps its store.
            again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self._store = PrefixStore(f"adaptinf-{again}", store)
        return self._store


def _leave_group() -> None:
    """End the process group that a training has made; without, DeepSpeed may abort at exit."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
