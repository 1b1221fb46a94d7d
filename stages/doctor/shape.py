"""One forward and one backward pass as training has them: longest row, batch, adapter."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from adaptinf.data.sample import Sample
from adaptinf.features.inputs import Batch
from adaptinf.features.memory import free_memory, is_out_of_memory
from adaptinf.models.loading import load_config
from stages.cutting import build_model, cut_config, everywhere
from stages.doctor.case import Case
from stages.doctor.finding import Finding, Unseen
from stages.doctor.hub import offline
from stages.doctor.room import free_memory as room_left
from stages.doctor.room import gigabytes
from stages.lineage import Lineage

STAGES = ("featurize", "train")
_WHOLE_ON_CPU = 2e9
"""Bytes of weights up to which a CPU takes the whole model; a larger one is cut for it."""

_LAYERS = (2, 1)  # of the text model and of the vision tower


def training_step(case: Case) -> Iterator[Finding]:
    """Whether loss and gradients come out as numbers, within the memory."""
    longest = _longest(case)
    rows = max(1, case.recipe.train.batch_size // int(os.environ.get("WORLD_SIZE", "1")))
    tokens = int(longest[1])
    with offline(), _model(case) as (model, what):
        shape = f"{rows} rows of {tokens} tokens on {what}"
        try:
            yield _verdict(_step(case, model, [longest[0]] * rows), shape)
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory()
        yield _smaller(case, model, longest[0], shape)


def _longest(case: Case) -> tuple[Sample, int]:
    """The longest of the rows that were seen, and its tokens."""
    if not case.has_model:
        raise Unseen("the model is not here")
    if not case.looks:
        raise Unseen("no task has rows that can be used")
    found = []
    for look in case.looks.values():
        lengths = look.pool.numbers("n_tokens")
        at = int(lengths.argmax())
        found.append((int(lengths[at]), look, at))
    tokens, look, at = max(found, key=lambda entry: entry[0])
    return look.pool.sample(at), tokens


@contextmanager
def _model(case: Case) -> Iterator[tuple[Any, str]]:
    """The recipe's model with a fresh adapter, to be trained; cut where it is too large."""
    size, name = case.weight_bytes, case.recipe.model.name
    fast = torch.accelerator.is_available()
    if size < room_left()[0] and (fast or size <= _WHOLE_ON_CPU):
        with case.context.model.adapted(Lineage(), trainable=True) as model:
            yield model, name
        return
    device = torch.accelerator.current_accelerator() if fast else "cpu"
    config = cut_config(load_config(case.model_source), *_LAYERS)
    model = build_model(case.model_source, config, everywhere(case.recipe), device)
    yield model.train(), f"{name}, cut to {_LAYERS[0]} layers with random weights"


def _step(case: Case, model: Any, samples: Sequence[Sample]) -> tuple[float, int, int, float]:
    """Loss, trained tensors, those of them without a gradient of numbers, and seconds."""
    train = case.recipe.train
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = Batch.on(model, case.context.collator(samples))
    started = time.perf_counter()
    with torch.autocast(model.device.type, torch.bfloat16, enabled=train.bf16):
        loss = model(**batch.inputs, labels=batch.labels).loss
    loss.backward()
    value = float(loss.detach())  # waits for the device
    seconds = time.perf_counter() - started
    trained = [p for p in model.parameters() if p.requires_grad]
    bad = sum(p.grad is not None and not bool(p.grad.isfinite().all()) for p in trained)
    if all(p.grad is None for p in trained):
        bad = len(trained)
    model.zero_grad(set_to_none=True)
    return value, len(trained), bad, seconds


def _verdict(step: tuple[float, int, int, float], shape: str) -> Finding:
    loss, trained, bad, seconds = step
    if not math.isfinite(loss) or bad:
        seen = f"{shape}: loss {loss:.4g}, {bad} of {trained} gradients are no numbers"
        todo = "take another model.dtype: float16 overflows where bfloat16 and float32 do not"
        return Finding("training step", "fail", seen, todo, STAGES)
    seen = f"{shape}: loss {loss:.4g}, {trained} gradients, {seconds:.2g} s"
    if torch.cuda.is_available():
        seen += f", {gigabytes(torch.cuda.max_memory_allocated())} at most"
    return Finding("training step", "ok", seen, stages=STAGES)


def _smaller(case: Case, model: Any, sample: Sample, shape: str) -> Finding:
    """What is to be done about a batch that does not fit the memory."""
    try:
        _step(case, model, [sample])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        seen = f"{shape} do not fit the memory, and neither does one"
        todo = "set train.gradient_checkpointing: true, or lower data.max_length"
        return Finding("training step", "fail", seen, todo, STAGES)
    seen = f"{shape} do not fit the memory, one does"
    todo = "lower train.batch_size and raise train.accumulate; else training halves it by itself"
    return Finding("training step", "warn", seen, todo, ("train",))
