"""A training in as many attempts as the memory asks for, each from where the last one ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.features.memory import free_memory, is_out_of_memory
from adaptinf.training.checkpoints import last_sealed, step_of
from adaptinf.training.micro_batches import MicroBatches
from adaptinf.training.watched import WatchedTrainer


class StepEnds(TrainerCallback):
    """Ends an attempt after step ``until``, and remembers the random numbers' state of each end."""

    def __init__(self, until: int | None) -> None:
        self._until = until
        self._kept: tuple[Tensor, Tensor | None] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at a step that is over; a checkpoint of it, if any, comes after this."""
        on_device = torch.accelerator.is_available()
        device = torch.get_device_module().get_rng_state() if on_device else None
        self._kept = torch.get_rng_state(), device
        if state.global_step == self._until:
            control.should_save = control.should_training_stop = True

    def restore(self) -> None:
        """Random numbers go on as after the last step that ended."""
        if self._kept:
            host, device = self._kept
            torch.set_rng_state(host)
            if device is not None:
                torch.get_device_module().set_rng_state(device)


@dataclass(slots=True)
class Attempts:
    """Runs a training to its end, with fewer rows in a forward pass where they do not fit.

    ``build`` makes the Trainer of an attempt, for so many rows on a device and with this callback,
    from a checkpoint or the beginning. ``note`` hears of what did not fit.
    """

    build: Callable[[int, StepEnds, Path | None], WatchedTrainer]
    plan: MicroBatches
    folder: Path
    scratch: Path
    ranks: Ranks
    note: Callable[[str], None]
    interrupted: Callable[[], bool]

    def run(self) -> WatchedTrainer:
        """The Trainer that came to the end, or was interrupted.

        Raises:
            UserError: one row does not fit; or this is no process that can go on by itself, and the
                same command, given again, does.
        """
        while True:
            checkpoint = last_sealed(self.scratch, self.ranks)
            part = self.plan.after(step_of(checkpoint))
            ends = StepEnds(part.until)
            trainer = self.build(part.rows, ends, checkpoint)
            if not self._fits(trainer, checkpoint):
                # The error, which is gone by now, has held all that there was on the device.
                trainer.model.zero_grad()
                free_memory()
                self._lessen(trainer, ends, step_of(checkpoint))
            elif self.interrupted() or trainer.state.global_step != part.until:
                return trainer
            # What its optimiser keeps is not to stand beside that of the next.
            del trainer
            free_memory()

    @staticmethod
    def _fits(trainer: WatchedTrainer, checkpoint: Path | None) -> bool:
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _lessen(self, trainer: WatchedTrainer, ends: StepEnds, begun: int) -> None:
        """Write down that there are fewer rows, and have a checkpoint to go on from with them.

        A step whose gradients did not fit has changed no weight, so that nothing is lost. Where
        several ranks wait for one another, DeepSpeed keeps the weights, or some may have changed,
        the next process goes on from the last checkpoint.
        """
        done = max(trainer.state.global_step, begun)
        by_itself = not (self.ranks.size > 1 or trainer.is_deepspeed_enabled or trainer.updating)
        after = done if by_itself else _begun_again(self.scratch)
        plan = self.plan.halved(after)
        if plan is None:
            raise _too_long(trainer, done + 1)
        plan.write(self.folder, self.scratch, self.ranks.rank)
        rows = plan.after(after).rows
        if not by_itself:
            raise UserError(
                f"out of memory in optimiser step {done + 1}, rank {self.ranks.rank}",
                where=str(self.folder),
                seen=f"{_rows(self.plan.after(after).rows)} in a forward pass of a device",
                hint=f"the same command goes on from step {after + 1}, with {_rows(rows)}",
            )
        self.plan = plan
        self.note(
            f"out of memory: {_rows(rows)} in a forward pass from optimiser step {after + 1} on; "
            "its batch stays as large"
        )
        if done > begun:
            ends.restore()
            trainer.keep_checkpoint()


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"


def _begun_again(scratch: Path) -> int:
    """The step that a process which comes after this one goes on from."""
    return step_of(last_sealed(scratch, Ranks()))


def _too_long(trainer: WatchedTrainer, step: int) -> UserError:
    in_hand = trainer.in_hand
    return UserError(
        f"one row does not fit the memory in training (optimiser step {step})",
        where=in_hand.uids[0] if in_hand else "train",
        seen=f"{in_hand.tokens} tokens" if in_hand else None,
        hint="set train.gradient_checkpointing: true, lower data.max_length, or have less of the "
        "model on a device: model.quantize: 4bit, or train.deepspeed: zero3 with several",
    )
