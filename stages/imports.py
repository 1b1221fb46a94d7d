"""``adaptinf adapter import``: what others published, as folders of Transformers and PEFT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from adaptinf.adapters.originals.acceptance import put_on
from adaptinf.adapters.originals.assembly import (
    PROJECTOR_FILE,
    Sources,
    assemble,
    is_projector_alone,
    pads,
)
from adaptinf.adapters.originals.files import (
    holds_weights,
    read_tensors,
    read_weights,
)
from adaptinf.adapters.originals.low_rank import Adapter, is_low_rank, read_low_rank
from adaptinf.adapters.originals.mixture import is_mixture, mixture_of, require_below
from adaptinf.errors import UserError
from adaptinf.files import read_object
from adaptinf.folders import whole
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.models.preprocessing import pads_to_square, preprocessing
from adaptinf.training.trainer import save_adapter
from stages.exports import question


@dataclass(frozen=True, slots=True)
class Order:
    """What to import: see the command's options."""

    source: Path
    out: Path
    base: str | None = None
    vision: str | None = None
    text: str | None = None
    pad: bool | None = None
    rank: int | None = None
    alpha: float | None = None


def import_original(order: Order) -> str:
    """Write ``order.out``; returns what it is now: a model, or an adapter of a route.

    Raises:
        UserError: it is none of the layouts that are known, or not whole.
    """
    source = order.source
    if not source.exists():
        raise UserError("nothing here", where=str(source))
    if source.is_dir() and is_low_rank(source):
        return _import_adapter(order, read_low_rank(source), {})
    if is_projector_alone(source):
        file = source if source.is_file() else source / PROJECTOR_FILE
        return _import_model(order, read_tensors(file))
    if source.is_dir() and holds_weights(source):
        tensors = read_weights(source)
        if not is_mixture(tensors):
            return _import_model(order, tensors)
        found = mixture_of(tensors, source, order.rank, order.alpha)
        return _import_adapter(order, found.adapter, found.frozen)
    raise UserError(
        "none of the layouts that are known",
        where=str(source),
        hint="a folder with adapter_config.json, with mm_projector.bin, or with LLaVA's weights",
    )


def _import_model(order: Order, tensors: Mapping[str, torch.Tensor]) -> str:
    sources = Sources(order.source, order.vision, order.text, order.pad)
    with whole(order.out) as draft:
        model, processor = assemble(sources, tensors)
        model.save_pretrained(draft)
        processor.save_pretrained(draft)
        _require_speaking(load_model(ModelSource(str(draft))), str(draft))
    return "model"


def _import_adapter(order: Order, adapter: Adapter, frozen: Mapping[str, torch.Tensor]) -> str:
    if order.base is None:
        raise UserError(
            "an adapter is imported for its base model",
            where="--base",
            hint="give a LLaVA in Transformers' layout, as made by importing mm_projector.bin",
        )
    source, where = ModelSource(order.base), str(order.source)
    processor = load_processor(source)
    _require_padding(order.source, processor, order.base)
    base = load_model(source)
    require_below(frozen, base, where)
    model = put_on(base, adapter, question(source, base), where)
    with whole(order.out) as draft:
        save_adapter(model, draft, order.base)
        told = {
            "base": order.base,
            "route": adapter.route,
            "imported": order.source.name,
            "processor": preprocessing(processor),
        }
        (draft / "lineage.json").write_text(json.dumps(told, indent=1) + "\n")
    return f"{adapter.route} adapter"


def _require_padding(folder: Path, processor: Any, base: str) -> None:
    """That images come to the adapter as they did in its training, if its folder tells of it."""
    wanted = pads(read_object(folder / "config.json"))
    has = pads_to_square(processor)
    if wanted is not None and wanted != has:
        raise UserError(
            "the adapter was trained on images that were "
            + ("padded to squares" if wanted else "cropped"),
            where=base,
            seen=f"a processor that {'pads' if has else 'crops'}",
            hint=f"import the base with {'--pad' if wanted else '--no-pad'}",
        )


@torch.no_grad()
def _require_speaking(model: PreTrainedModel, folder: str) -> None:
    logits = model(**question(ModelSource(folder), model)).logits
    if not bool(logits.isfinite().all()):
        raise UserError("the assembled model gives logits that are no numbers", where=folder)
