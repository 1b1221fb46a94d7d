"""What a training is told: the recipe's settings, and the Trainer's arguments made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from adaptinf.errors import UserError
from adaptinf.training.presets import deepspeed_config


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What the recipe's ``train`` section says; ``extra`` goes on to ``TrainingArguments``."""

    learning_rate: float = 2e-4
    epochs: float = 1
    batch_size: int = 16
    accumulate: int = 1
    scheduler: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    bf16: bool = False
    gradient_checkpointing: bool = False
    save_steps: int | None = None
    keep_checkpoints: int = 2
    deepspeed: str | None = None
    workers: int = 0
    report_to: str | Sequence[str] = "none"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows_per_step(self) -> int:
        """Rows of one step of the optimiser, of all ranks together."""
        return self.batch_size * self.accumulate

    def rows_per_device(self, ranks: int) -> int:
        """Rows in one forward pass of a rank.

        Raises:
            UserError: the ranks cannot divide a batch.
        """
        if self.batch_size % ranks:
            raise UserError(
                f"a batch cannot be divided among {ranks} ranks",
                where="train.batch_size",
                seen=self.batch_size,
                hint=f"give a multiple of {ranks}",
            )
        return self.batch_size // ranks


@dataclass(frozen=True, slots=True)
class Order:
    """How many rows there are, how they are drawn, and how many go into one forward pass."""

    rows: int
    seed: int
    planned: bool
    """Rows come as the dataset has them, and not at random."""
    per_device: int
    ranks: int


def training_arguments(settings: TrainSettings, scratch: Path, order: Order) -> TrainingArguments:
    """The Trainer's arguments.

    Raises:
        UserError: ``extra`` has what other keys say, or what is no argument.
    """
    values: dict[str, Any] = {
        "output_dir": str(scratch),
        "per_device_train_batch_size": order.per_device,
        "gradient_accumulation_steps": settings.rows_per_step // (order.per_device * order.ranks),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": settings.bf16,
        "activation_checkpointing": settings.gradient_checkpointing,
        "deepspeed": deepspeed_config(settings.deepspeed),
        "save_strategy": "steps",
        "save_steps": settings.save_steps or math.ceil(order.rows / settings.rows_per_step),
        "save_total_limit": settings.keep_checkpoints,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "log_level_replica": "passive",  # other ranks say no more than the first
        "report_to": settings.report_to,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_num_workers": settings.workers,
        "train_sampling_strategy": "sequential" if order.planned else "random",
        "use_cpu": not torch.accelerator.is_available(),
        "seed": order.seed,
        "data_seed": order.seed,
    }
    taken = sorted(values.keys() & settings.extra.keys())
    if taken:
        raise UserError(
            "set by other keys of the recipe",
            where="train.extra",
            seen=taken,
            hint="use the keys of the train and tracking sections",
        )
    try:
        return TrainingArguments(**values, **settings.extra)
    except TypeError as error:
        raise UserError(str(error), where="train.extra", seen=sorted(settings.extra)) from error
