"""Averages of weights that keep an adapter near what it was before its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adaptinf.data.sample import Sample


@dataclass(frozen=True, slots=True)
class Average:
    """Which mean of a training's weights is kept: see the recipe's ``adapter.average``."""

    kind: Literal["none", "ema", "interpolate"] = "none"
    decay: float = 0.99
    held_back: float = 0.1

    def divided(
        self, samples: Sequence[Sample], seed: int
    ) -> tuple[Sequence[Sample], Sequence[Sample]]:
        """Rows to train on, and those that are held back, at least one, drawn by ``seed``."""
        if self.kind != "interpolate" or len(samples) < 2:
            return samples, samples
        count = max(1, round(self.held_back * len(samples)))
        back = set(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
        parts: tuple[list[Sample], list[Sample]] = ([], [])
        for i, sample in enumerate(samples):
            parts[i in back].append(sample)
        return parts


SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the trained weights that :func:`interpolate` tries."""

_FILE = "average.safetensors"


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters that are trained, by name."""
    named = model.named_parameters()
    return {name: p.detach().clone() for name, p in named if p.requires_grad}


def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give parameters these values."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


class MovingAverage(TrainerCallback):
    """Exponential moving average over the optimiser's steps, from the weights before the first.

    ``mean = decay * mean + (1 - decay) * weights`` in float32, after every step. It is kept in the
    Trainer's checkpoints, so that a training that goes on from one ends with the same bits.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.mean = {name: value.float() for name, value in trained_weights(model).items()}

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint's mean."""
        stored = load_file(checkpoint / _FILE)
        self.mean = {name: stored[name].to(value) for name, value in self.mean.items()}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Take the new weights in."""
        for name, parameter in self._model.named_parameters():
            if name in self.mean:
                self.mean[name].lerp_(parameter.detach().float(), 1 - self._decay)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Put the mean into the checkpoint."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_file({n: v.contiguous().cpu() for n, v in self.mean.items()}, folder / _FILE)


def interpolate(
    model: nn.Module,
    before: Mapping[str, Tensor],
    loss: Callable[[], float],
    shares: Sequence[float] = SHARES,
) -> dict[str, float]:
    """Leave ``model`` with ``(1 - s) before + s after``, of the share s of the lowest ``loss()``.

    Returns the loss of every share, by its text (Wortsman et al. 2022, WiSE-FT). Of equal losses
    the smaller share wins: it is nearer to what was known.
    """
    after = trained_weights(model)
    losses = {}
    for share in shares:
        put_weights(model, _between(before, after, share))
        losses[f"{share:g}"] = loss()
    best = min(losses, key=lambda share: (losses[share], float(share)))
    put_weights(model, _between(before, after, float(best)))
    return losses


def _between(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    return {
        name: torch.lerp(before[name].float(), value.float(), share).to(value.dtype)
        for name, value in after.items()
    }
