"""A step's adapter for use elsewhere: in the weights of its base model, or as plain LoRA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptinf.adapters.inspection import Inspection, Share, inspect_adapter
from adaptinf.console import table
from adaptinf.errors import UserError
from adaptinf.features.inputs import Batch
from adaptinf.folders import whole
from adaptinf.models.loading import ModelSource, load_config, load_model, load_processor
from adaptinf.models.preprocessing import preprocessing, require_preprocessing
from adaptinf.routes import UNMERGEABLE

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel

ROWS = 64
"""Rows of a step's selection whose routes count, when a MixLoRA adapter becomes plain LoRA."""


def base_size(base: str) -> int | None:
    """Numbers in the base model, counted on the meta device; None where it is not at hand."""
    import torch
    from transformers import AutoModelForImageTextToText

    try:
        config = load_config(ModelSource(base))
    except UserError:
        return None
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)  # type: ignore[no-untyped-call]
    return int(sum(parameter.numel() for parameter in model.parameters()))


def described(found: Inspection, base_parameters: int | None, *, as_json: bool = False) -> str:
    """An inspection in lines, or as JSON."""
    if as_json:
        told = {**asdict(found), "parameters": found.parameters, "base_parameters": base_parameters}
        return json.dumps(told, indent=1)
    size = f"{base_parameters:,}" if base_parameters else "unknown"
    lines = [f"route: {found.route}", f"base: {found.base} ({size} parameters)"]
    for key in ("step", "continues", "merged", "rows", "average"):
        if value := found.lineage.get(key):
            lines.append(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    shares = [share for share in found.shares if share.tensors]
    cells = [
        [
            share.part,
            f"{share.tensors:,}",
            f"{share.parameters:,}",
            f"{100 * share.parameters / base_parameters:.2f}" if base_parameters else "",
            f"{share.flops:,}",
        ]
        for share in [*shares, Share.total(shares)]
    ]
    heads = ["part", "tensors", "parameters", "% of the base", "FLOP a token"]
    return "\n".join([*lines, "", table(cells, heads)])


def merge_adapter(
    folder: Path,
    out: Path,
    base: str | None = None,
    dtype: str = "auto",
    revision: str | None = None,
) -> float:
    """Write the base model with an adapter, and those that are merged below it, in its weights.

    ``out`` becomes a model of its own with its processor, for any server. Returns by how much its
    logits for a question about an image are off those of the model with the adapter beside it, as a
    share of what the adapter changes there; 0 where nothing is rounded.

    Raises:
        UserError: the adapter cannot be merged, or ``out`` is there.
    """
    from adaptinf.adapters import merge

    found = inspect_adapter(folder)
    if found.route in UNMERGEABLE:
        raise UserError(
            f"an adapter of route {found.route} cannot be merged: its update depends on the row",
            where=str(folder),
            hint="serve the model with the adapter on it"
            + (", or write a plain LoRA with export" if found.route == "mixlora" else ""),
        )
    source = source_of(folder, found, base, dtype)
    if revision is not None:
        source = replace(source, revision=revision)
    with whole(out) as draft:
        model: Any = adapted_model(folder, found, source)
        asked = question(source, model)
        beside = _logits(model, asked)
        with model.disable_adapter():
            whole_change = (beside - _logits(model, asked)).norm()
        merged = merge(model)
        off = (_logits(merged, asked) - beside).norm()
        write_model(merged, source, draft)
    return float(off / whole_change) if whole_change else 0.0


def source_of(
    folder: Path, found: Inspection, base: str | None = None, dtype: str = "auto"
) -> ModelSource:
    """The base model of an adapter: as given, or as the run that it stands in has it."""
    from stages.run_recipe import recipe_of

    above = folder.resolve().parents  # RUN/steps/STEP/train/adapter
    run = above[min(3, len(above) - 1)]
    if base is None and (run / "config.resolved.yaml").is_file():
        told = recipe_of(run).model
        if told.name == found.base:
            return ModelSource(told.name, told.revision, dtype)
    return ModelSource(base or found.base, dtype=dtype)


def question(source: ModelSource, model: Any) -> dict[str, Any]:
    """A model's inputs for a small question about an image."""
    from PIL import Image

    from adaptinf.data.sample import IMAGE_MARK, Turn
    from stages.context import encoder_of

    image = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
    turns = [[Turn("user", f"{IMAGE_MARK}What is in the picture?")]]
    batch = encoder_of(source).encode_prompts(turns, [[image]]).to(model.device)
    if "pixel_values" in batch:
        batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
    return dict(batch)


def _logits(model: Any, inputs: dict[str, Any]) -> Tensor:
    import torch

    with torch.no_grad():
        logits: Tensor = model(**inputs).logits.float()
    return logits


def write_model(model: Any, source: ModelSource, out: Path) -> None:
    """A model and its processor in a folder of transformers."""
    model.save_pretrained(out)
    load_processor(source).save_pretrained(out)


def export_lora(
    folder: Path, out: Path, base: str | None = None, rank: int | None = None
) -> float | None:
    """Write an adapter as plain LoRA; returns its error, None where it is the adapter itself.

    DoRA: ``adaptinf.adapters.truncation``, of ``rank``, or the adapter's highest. MixLoRA:
    ``adaptinf.adapters.mixlora.freeze_route`` over rows of the step's selection.

    Raises:
        UserError: no LoRA comes near to the adapter, or ``out`` is there.
    """
    found = inspect_adapter(folder)
    if found.route not in ("lora", "dora", "mixlora"):
        raise UserError(
            f"an adapter of route {found.route} cannot be written as LoRA",
            where=str(folder),
            hint="merge it" if found.route == "full" else "serve the model with the adapter on it",
        )
    with whole(out) as draft:
        if found.route == "lora":
            shutil.copytree(folder, draft, dirs_exist_ok=True)
            return None
        model = adapted_model(folder, found, source_of(folder, found, base))
        if found.route == "dora":
            from adaptinf.adapters.truncation import truncate_dora

            ranks = [found.settings["r"], *found.settings.get("rank_pattern", {}).values()]
            return truncate_dora(model, draft, rank or max(ranks))
        from adaptinf.adapters.mixlora import freeze_route

        batches = [Batch.on(model, batch) for batch in _selected(folder)]
        rows = [{**batch.inputs, "labels": batch.labels} for batch in batches]
        return freeze_route(model, draft, rows).error


def adapted_model(folder: Path, found: Inspection, source: ModelSource) -> PeftModel:
    """The base model with the adapter on it, and in its weights those that belong there.

    Raises:
        UserError: it does not fit, or was trained behind another processor.
    """
    from adaptinf.adapters import load_adapter

    require_preprocessing(folder, preprocessing(load_processor(source)))
    return load_adapter(model_below(folder, found, source), folder).eval()


def model_below(folder: Path, found: Inspection, source: ModelSource) -> PreTrainedModel:
    """The model that an adapter was trained on: the base model, with earlier ones in its weights.

    Raises:
        UserError: one of those is not in the run.
    """
    from adaptinf.adapters import load_adapter, merge

    model = load_model(source)
    for step in found.lineage.get("merged", []):
        below = folder.parents[2] / step / "train" / "adapter"
        if not below.is_dir():
            raise UserError(
                "an adapter that is merged below this one is not there",
                where=str(folder),
                seen=str(below),
                hint="give the folder inside of its run",
            )
        model = merge(load_adapter(model, below))
    return model


def _selected(folder: Path) -> Iterator[dict[str, Any]]:
    """Batches of the rows that the step of an adapter's folder has selected."""
    import pyarrow.parquet as pq

    from adaptinf.data.pool import places, read_pool
    from stages.manager import open_context
    from stages.run_recipe import recipe_of

    step, run = folder.parents[1], folder.parents[3]
    if not (run / "config.resolved.yaml").is_file():
        raise UserError(
            "a MixLoRA adapter is exported for the rows that its step has selected",
            where=str(folder),
            seen=f"no config.resolved.yaml in {run}",
            hint="give the folder inside of its run",
        )
    context = open_context(recipe_of(run))
    pool = read_pool(step / "ingest" / "pool.parquet")
    uids = pq.read_table(step / "select" / "selection.parquet")["uid"].to_pylist()
    chosen = [pool.sample(int(i)) for i in places(uids[:ROWS], pool.uids)]
    for start in range(0, len(chosen), 8):
        yield context.collator(chosen[start : start + 8])
