"""Hugging Face Trainer around one adapter and the rows selected for a step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors import safe_open
from transformers import Trainer
from transformers.integrations import is_deepspeed_zero3_enabled

from adaptinf.data.collator import Collator
from adaptinf.data.sample import Sample
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.features.forward import Forward
from adaptinf.features.inputs import Batch
from adaptinf.features.taps import scoring_mode
from adaptinf.notice import Interrupted
from adaptinf.training.arguments import Order, TrainSettings, training_arguments
from adaptinf.training.attempts import Attempts, StepEnds
from adaptinf.training.averages import (
    Average,
    MovingAverage,
    interpolate,
    put_weights,
    trained_weights,
)
from adaptinf.training.batches import Rows, TrainingCollator
from adaptinf.training.card import Card
from adaptinf.training.checkpoints import SealCheckpoints
from adaptinf.training.deepspeed import forget_configuration, whole
from adaptinf.training.grouping import GroupedRows
from adaptinf.training.micro_batches import MicroBatches
from adaptinf.training.watched import Progress, WatchedTrainer


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
    lengths: Mapping[str, int] | None = None,
    ranks: Ranks | None = None,
    advance: Callable[[int], None] = lambda rows: None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Train ``model``'s adapter and write ``folder/adapter`` and ``folder/log.jsonl``.

    ``base`` is the base model's name as the adapter's configuration shall tell it. ``rates`` are
    highest learning rates of parameters, by name, that have one of their own. ``average`` says
    which mean of weights is kept instead of the last ones. By ``lengths``, tokens by uid, rows of
    like lengths share a batch. Returns the losses that the mean was chosen by, if it was: of
    held-back rows, by share of the trained weights.

    All ``ranks`` of a launch call it together and divide each batch; the leader writes. The result
    is that of one rank but for rounding and dropout.

    Checkpoints stand in ``folder/checkpoints`` while it runs: called again after a kill, it goes on
    from the newest whole one and ends with the same bytes. ``advance`` hears of rows as they are
    trained; where it raises ``Interrupted``, a checkpoint is written before that goes on. The log
    has one line per optimiser step.

    A step that does not fit the memory is made in more passes of fewer rows, from there on; the
    result is as for ranks. ``note`` hears of it, and ``folder/micro_batches.json`` tells it.

    Raises:
        UserError: no rows, a batch that the ranks cannot divide, a saved adapter that lacks
            tensors, weights in parts (ZeRO-3) that are to be averaged, a loss or gradient that
            is no number, with the rows it came from, which no weight has then; a row that does not
            fit the memory, or a step that only the next process can make in more passes.
    """
    average, ranks = average or Average(), ranks or Ranks()
    samples, held_back = average.divided(samples, seed)
    if not samples:
        raise UserError("no rows were selected", where="train", hint="raise select.budget")
    scratch = folder / "checkpoints"
    before = trained_weights(model) if average.kind == "interpolate" else {}
    mean = MovingAverage(model, average.decay) if average.kind == "ema" else None
    progress = Progress(advance, settings.rows_per_step)
    rows: Sequence[Sample] = samples
    if lengths is not None:
        tokens = [lengths[sample.uid] for sample in samples]
        rows = GroupedRows(samples, tokens, settings.rows_per_step, seed)
    together = settings.deepspeed is not None and ranks.size > 1
    batches = (
        TrainingCollator.for_ranks(collator, samples) if together else TrainingCollator(collator)
    )

    def build(per_device: int, ends: StepEnds, checkpoint: Path | None) -> WatchedTrainer:
        order = Order(len(samples), seed, lengths is not None, per_device, ranks.size)
        trainer = WatchedTrainer(
            rates=rates or {},
            where=folder,
            model=model,
            args=training_arguments(settings, scratch, order),
            data_collator=batches,
            train_dataset=Rows(rows),
            callbacks=[*([mean] if mean else []), SealCheckpoints(ranks), ends, progress],
        )
        _require_whole(average)
        if checkpoint and mean:
            mean.resume(checkpoint)
        return trainer

    per_device = settings.rows_per_device(ranks.size)
    plan = MicroBatches.read(folder, settings.rows_per_step // ranks.size, per_device)
    attempts = Attempts(build, plan, folder, scratch, ranks, note, lambda: progress.interrupted)
    trainer = attempts.run()
    forget_configuration()
    if progress.interrupted:
        raise Interrupted
    losses = {}
    if mean:
        put_weights(model, mean.mean)
    elif average.kind == "interpolate":
        at_once = attempts.plan.fewest * ranks.size
        of_rows = partial(_mean_loss, model, collator, held_back, at_once, ranks)
        losses = interpolate(model, before, of_rows)
    with whole(p for p in model.parameters() if p.requires_grad):
        if ranks.leads:
            _write_log(trainer, folder / "log.jsonl")
            save_adapter(model, folder / "adapter", base)
        ranks.meet()
    return losses


def _require_whole(average: Average) -> None:
    if average.kind != "none" and is_deepspeed_zero3_enabled():
        raise UserError(
            "weights that are in parts on several devices cannot be averaged",
            where="adapter.average",
            seen=average.kind,
            hint="give none, or train with ZeRO-2",
        )


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
    (folder / "README.md").write_text(_card(model, base).text())
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


def _card(model: PeftModel, base: str) -> Card:
    """The adapter's card. A tuner that is not PEFT's own says what to import for it."""
    config = model.peft_config[model.active_adapter]
    route = "dora" if getattr(config, "use_dora", False) else config.peft_type.value.lower()
    route = "full" if config.target_modules == DUMMY_TARGET_MODULES else route
    load_with = getattr(config, "load_with", "")
    return Card(base, route, load_with=load_with, kind=config.peft_type.value)
