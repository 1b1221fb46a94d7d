"""Hugging Face Trainer around one adapter and the rows selected for a step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors import safe_open
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from adaptinf.data.collator import Collator
from adaptinf.data.sample import Sample
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.features.forward import Forward
from adaptinf.features.inputs import Batch
from adaptinf.features.taps import scoring_mode
from adaptinf.notice import Interrupted
from adaptinf.training.averages import MovingAverage, interpolate, put_weights, trained_weights
from adaptinf.training.checkpoints import SealCheckpoints, last_sealed
from adaptinf.training.deepspeed import deepspeed_config


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


_CARD = """\
---
base_model: {base}
library_name: peft
pipeline_tag: image-text-to-text
tags: [adaptinf, {route}, "base_model:adapter:{base}"]
---

A PEFT adapter for `{base}`, one step of a lifelong run. Its route is {route}. `lineage.json` tells
what it continues, the folders above the rest: the step's selected rows
(`select/selection.parquet`), its losses (`train/log.jsonl`) and its answers to every benchmark
(`evaluate/`).

```python
{imports}from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this/folder")
```
"""


class _Progress(TrainerCallback):
    """Tells of rows; where that is answered by ``Interrupted``, all ranks save and stop."""

    def __init__(self, advance: Callable[[int], None], rows_per_step: int) -> None:
        self._advance = advance
        self._rows = rows_per_step
        self.interrupted = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
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


_UIDS = "uids"


def _named(collator: Collator, samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch that knows whose it is."""
    return {**collator(samples), _UIDS: [sample.uid for sample in samples]}


class _WatchedTrainer(Trainer):
    """A Trainer that stops where the loss or its gradients are no numbers.

    Of its parameters, some may have a learning rate of their own, on the same course.
    """

    def __init__(self, rates: Mapping[str, float], where: Path, **arguments: Any) -> None:
        self._rates = rates
        self._where = where
        self._uids: list[str] = []
        super().__init__(**arguments)

    def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> torch.Tensor:
        uids = inputs.pop(_UIDS)
        loss = super().training_step(model, inputs, *rest, **named)
        self._require_finite("the loss", loss, uids)
        self._uids += uids
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if norm is not None:
            self._require_finite("the length of the gradient", norm, self._uids)
        self._uids = []
        return norm

    def _require_finite(self, what: str, value: Any, uids: Sequence[str]) -> None:
        """Raises ``UserError``, before the optimiser has put it into a weight."""
        value = float(value)
        if not math.isfinite(value):
            raise UserError(
                f"{what} of optimiser step {self.state.global_step + 1} is no number",
                where=str(self._where),
                seen=f"{value}, of rows {', '.join(uids)}",
                hint="lower train.learning_rate, or look at these rows; nothing of it was kept",
            )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh and self._rates:
            named = (self.model if model is None else model).named_parameters()
            rates = {p: self._rates[name] for name, p in named if name in self._rates}
            optimizer.param_groups[:] = [
                part for group in optimizer.param_groups for part in _by_rate(group, rates)
            ]
        return optimizer


def _by_rate(
    group: Mapping[str, Any], rates: Mapping[torch.nn.Parameter, float]
) -> list[dict[str, Any]]:
    """A group of an optimiser as one for each learning rate, its own first."""
    parts: dict[float, list[torch.nn.Parameter]] = {group["lr"]: []}
    for parameter in group["params"]:
        parts.setdefault(rates.get(parameter, group["lr"]), []).append(parameter)
    return [{**group, "lr": rate, "params": params} for rate, params in parts.items()]


def train_adapter(
    model: PeftModel,
    collator: Collator,
    samples: Sequence[Sample],
    settings: TrainSettings,
    folder: Path,
    *,
    base: str,
    seed: int = 0,
    rates: Mapping[str, float] | None = None,
    average: Average | None = None,
    ranks: Ranks | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> dict[str, float]:
    """Train ``model``'s adapter and write ``folder/adapter`` and ``folder/log.jsonl``.

    ``base`` is the base model's name as the adapter's configuration shall tell it. ``rates`` are
    highest learning rates of parameters, by name, that have one of their own. ``average`` says
    which mean of weights is kept instead of the last ones. Returns the losses that it was chosen
    by, if it was: of held-back rows, by share of the trained weights.

    All ``ranks`` of a launch call it together and divide each batch; the leader writes. The result
    is that of one rank but for rounding, dropout, and a last batch that is filled up.

    Checkpoints stand in ``folder/checkpoints`` while it runs: called again after a kill, it goes on
    from the newest whole one and ends with the same bytes. ``advance`` hears of rows as they are
    trained; where it raises ``Interrupted``, a checkpoint is written before that goes on. The log
    has one line per optimiser step.

    Raises:
        UserError: no rows, a batch that the ranks cannot divide, a saved adapter that lacks
            tensors, weights in parts (ZeRO-3) that are to be averaged, or a loss or gradient that
            is no number, with the rows it came from; no weight has it then.
    """
    average, ranks = average or Average(), ranks or Ranks()
    samples, held_back = average.divided(samples, seed)
    if not samples:
        raise UserError("no rows were selected", where="train", hint="raise select.budget")
    scratch = folder / "checkpoints"
    rows = settings.batch_size * settings.accumulate
    before = trained_weights(model) if average.kind == "interpolate" else {}
    mean = MovingAverage(model, average.decay) if average.kind == "ema" else None
    progress = _Progress(advance, rows)
    trainer = _WatchedTrainer(
        rates=rates or {},
        where=folder,
        model=model,
        args=_arguments(settings, scratch, seed, math.ceil(len(samples) / rows), ranks.size),
        data_collator=partial(_named, collator),
        train_dataset=samples,
        callbacks=[*([mean] if mean else []), SealCheckpoints(ranks), progress],
    )
    trainer.remove_callback(PrinterCallback)
    if average.kind != "none" and is_deepspeed_zero3_enabled():
        raise UserError(
            "weights that are in parts on several devices cannot be averaged",
            where="adapter.average",
            seen=average.kind,
            hint="give none, or train with ZeRO-2",
        )
    resumed = last_sealed(scratch, ranks)
    if resumed and mean:
        mean.resume(resumed)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if progress.interrupted:
        raise Interrupted
    losses = {}
    if mean:
        put_weights(model, mean.mean)
    elif average.kind == "interpolate":
        of_rows = partial(_mean_loss, model, collator, held_back, settings.batch_size, ranks)
        losses = interpolate(model, before, of_rows)
    if ranks.leads:
        _write_log(trainer, folder / "log.jsonl")
        save_adapter(model, folder / "adapter", base)
    ranks.meet()
    return losses


def _write_log(trainer: Trainer, file: Path) -> None:
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    kept = ("step", "epoch", "loss", "grad_norm", "learning_rate")
    lines = [json.dumps({key: entry[key] for key in kept if key in entry}) for entry in steps]
    file.write_text("".join(line + "\n" for line in lines))


def _mean_loss(
    model: PeftModel, collator: Collator, samples: Sequence[Sample], batch_size: int, ranks: Ranks
) -> float:
    """Mean over rows of their mean NLL."""
    forward = Forward(model)
    losses = []
    with scoring_mode(model), torch.no_grad():
        for start in range(0, len(samples), batch_size):
            batch = Batch.on(model, collator(samples[start : start + batch_size]))
            losses += forward.losses(batch).tolist()
            ranks.move()
    return sum(losses) / len(losses)


def _arguments(
    settings: TrainSettings, scratch: Path, seed: int, steps_per_epoch: int, ranks: int
) -> TrainingArguments:
    if settings.batch_size % ranks:
        raise UserError(
            f"a batch cannot be divided among {ranks} ranks",
            where="train.batch_size",
            seen=settings.batch_size,
            hint=f"give a multiple of {ranks}",
        )
    values: dict[str, Any] = {
        "output_dir": str(scratch),
        "per_device_train_batch_size": settings.batch_size // ranks,
        "gradient_accumulation_steps": settings.accumulate,
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
        "save_steps": settings.save_steps or steps_per_epoch,
        "save_total_limit": settings.keep_checkpoints,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": settings.report_to,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_num_workers": settings.workers,
        "use_cpu": not torch.accelerator.is_available(),
        "seed": seed,
        "data_seed": seed,
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


def save_adapter(model: PeftModel, folder: Path, base: str) -> None:
    """A stock PEFT folder, read again after writing: every tensor there, with its shape.

    It names the base model ``base``, not the folder that this machine has it in, and its card says
    what is known instead of PEFT's form to fill in.

    Raises:
        UserError: tensors are missing or empty (as ZeRO-3 saves them when not gathered).
    """
    model.peft_config[model.active_adapter].base_model_name_or_path = base
    # Embeddings carry no adapter; asked to look for itself, PEFT would ask a hub about them.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").write_text(_card(model, base))
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    expected = {key: tuple(tensor.shape) for key, tensor in state.items()}
    with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
        saved = {key: tuple(stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118
    if saved != expected or not all(math.prod(shape) for shape in saved.values()):
        raise UserError(
            "the saved adapter is incomplete",
            where=str(folder),
            seen=f"{len(saved)} of {len(expected)} tensors",
            hint="please report this with your train settings",
        )


def _card(model: PeftModel, base: str) -> str:
    """The adapter's card. A tuner that is not PEFT's own says what to import for it."""
    config = model.peft_config[model.active_adapter]
    route = "dora" if getattr(config, "use_dora", False) else config.peft_type.value.lower()
    route = "full" if config.target_modules == DUMMY_TARGET_MODULES else route
    load_with = getattr(config, "load_with", "")
    imports = f"{load_with}  # makes PEFT know {config.peft_type.value}\n" if load_with else ""
    return _CARD.format(base=base, route=route, imports=imports)
