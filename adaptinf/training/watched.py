"""A Trainer that stops where the loss or its gradients are no numbers, and knows its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from torch.utils.data import RandomSampler
from transformers import PrinterCallback, Trainer, TrainerCallback

from adaptinf.data.encoder import IGNORED
from adaptinf.errors import UserError
from adaptinf.notice import Interrupted
from adaptinf.training.batches import UIDS, EvenOrder


@dataclass(frozen=True, slots=True)
class InHand:
    """Rows of a forward pass, and the tokens of the longest."""

    uids: Sequence[str]
    tokens: int


class WatchedTrainer(Trainer):
    """A Trainer whose steps are finite, and those of a whole batch in however many passes.

    The loss is the mean over the answer tokens of all rows of a step. Transformers sees to that for
    most families; Qwen-VL, Gemma 3 and PaliGemma give means of single passes, which are weighted
    here. Of the parameters, some may have a learning rate of their own, on the same course.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        rates: Mapping[str, float],
        where: Path,
        callbacks: Sequence[TrainerCallback],
        **arguments: Any,
    ) -> None:
        self._rates = rates
        self._where = where
        self._passes: list[tuple[InHand, Tensor]] = []
        self.in_hand: InHand | None = None
        self.updating = False
        """Whether the optimiser is at work: some weights may be of the step, others not."""
        super().__init__(callbacks=[_Steps(self), *callbacks], **arguments)
        self.remove_callback(PrinterCallback)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The passes of a step, and the answer tokens of all of them on all ranks."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if items is None and batches:
            counted = torch.stack([_answers(batch["labels"]) for batch in batches]).sum()
            items = self.accelerator.gather(counted.to(device)).sum()
        return batches, items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """A pass's part of the step's loss."""
        answers = _answers(inputs["labels"])
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model_accepts_loss_kwargs:
            return found
        weight = answers * self.accelerator.num_processes / num_items_in_batch
        return (found[0] * weight, found[1]) if return_outputs else found * weight

    def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Tensor:
        """Forward and backward of one pass; its loss is looked at later, with all of the step."""
        self.in_hand = InHand(inputs.pop(UIDS), inputs["input_ids"].shape[1])
        loss = super().training_step(model, inputs, *rest, **named)
        self._passes.append((self.in_hand, loss))
        return loss

    def require_finite(self) -> None:
        """Raises ``UserError``, before the optimiser has put what is no number into a weight.

        One look for all of a step: each is a wait for the device. (DeepSpeed has made its step by
        then; what is told is kept nowhere all the same.)
        """
        passes, self._passes = self._passes, []
        values = [loss.float() for _, loss in passes]
        norm = self._gradient_norm()
        if norm is not None:
            values.append(torch.as_tensor(norm, dtype=torch.float32, device=values[0].device))
        *losses, last = torch.stack(values).tolist()
        losses += [last] if norm is None else []
        for (in_hand, _), loss in zip(passes, losses, strict=True):
            self._require_number("the loss", loss, in_hand.uids)
        if norm is not None:
            rows = [uid for in_hand, _ in passes for uid in in_hand.uids]
            self._require_number("the length of the gradient", last, rows)

    def keep_checkpoint(self) -> None:
        """Save the state after the last step that ended, outside of the loop that does it else."""
        self._save_checkpoint(self.model, trial=None)
        self.callback_handler.on_save(self.args, self.state, self.control)

    def _gradient_norm(self) -> Any:
        if self.is_deepspeed_enabled:
            return self.model_wrapped.get_global_grad_norm()
        found = [p.grad for p in self.model.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(found)

    def _require_number(self, what: str, value: float, uids: Sequence[str]) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"{what} of optimiser step {self.state.global_step + 1} is no number",
                where=str(self._where),
                seen=f"{value}, of rows {', '.join(uids)}",
                hint="lower train.learning_rate, or look at these rows; nothing of it was kept",
            )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        order = super()._get_train_sampler(train_dataset)
        if self.args.world_size == 1:
            return order
        if isinstance(order, RandomSampler):  # as Accelerate makes it the same on all ranks
            order = SeedableRandomSampler(order.data_source, data_seed=self.args.data_seed)
        batch_size = self.args.train_batch_size * self.args.world_size
        # A model that takes the mean of a batch's losses itself has none of a batch without label.
        even = EvenOrder(order, batch_size if self.model_accepts_loss_kwargs else 1)
        self.add_callback(even)
        return even

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser, with a group of parameters for each learning rate."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh and self._rates:
            named = (self.model if model is None else model).named_parameters()
            rates = {p: self._rates[name] for name, p in named if name in self._rates}
            optimizer.param_groups[:] = [
                part for group in optimizer.param_groups for part in _by_rate(group, rates)
            ]
        return optimizer


class _Steps(TrainerCallback):
    """Has a look before the optimiser makes its step, and knows when it is at it."""

    def __init__(self, trainer: WatchedTrainer) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.require_finite()
        self._trainer.updating = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.updating = False


class Progress(TrainerCallback):
    """Tells of rows; where that is answered by ``Interrupted``, all ranks save and stop."""

    def __init__(self, advance: Callable[[int], None], rows_per_step: int) -> None:
        self._advance = advance
        self._rows = rows_per_step
        self.interrupted = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell of a step."""
        try:
            self._advance(self._rows)
        except Interrupted:
            self.interrupted = True
        if torch.distributed.is_initialized():
            # One rank may have had notice a batch before another: they stop at the same.
            told = torch.tensor(int(self.interrupted), device=args.device)
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
            self.interrupted = bool(told)
        if self.interrupted:
            control.should_save = control.should_training_stop = True


def _answers(labels: Tensor) -> Tensor:
    """How many tokens are predicted and looked at; the first of a row is predicted by none."""
    return labels[..., 1:].ne(IGNORED).sum()


def _by_rate(group: Mapping[str, Any], rates: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """A group of an optimiser as one for each learning rate, its own first."""
    parts: dict[float, list[nn.Parameter]] = {group["lr"]: []}
    for parameter in group["params"]:
        parts.setdefault(rates.get(parameter, group["lr"]), []).append(parameter)
    return [{**group, "lr": rate, "params": params} for rate, params in parts.items()]
