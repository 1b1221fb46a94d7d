"""Put an adapter on a model, or load the one that an earlier step trained."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from adaptinf.adapters.names import ROUTES
from adaptinf.errors import UserError, suggestion
from adaptinf.models.parts import text_layers


def attach(
    model: PreTrainedModel,
    route: str = "lora",
    *,
    r: int = 16,
    alpha: float = 32,
    dropout: float = 0.05,
    seed: int = 0,
) -> PeftModel:
    """A fresh adapter on every linear module of the text layers; all else is frozen.

    Vision tower and connector stay as they are: a tuned vision tower forgets (docs/architecture.md
    weighs the evidence). LoRA (Hu et al. 2022): ``y = W x + alpha/r B A x``, ``B = 0`` at the
    start, ``A`` drawn from ``seed``.

    Raises:
        UserError: unknown route.
    """
    if route not in ROUTES:
        raise UserError(
            "unknown adapter route",
            where="adapter.route",
            seen=route,
            hint=suggestion(route, ROUTES),
        )
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_text_linears(model),
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """The model with the adapter of ``folder``; every adapter tensor must find its place.

    Raises:
        UserError: the folder's tensors and the model's adapter modules are not the same set.
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    # Where this machine has the base model, so that PEFT looks nowhere else for it.
    wrapped.peft_config[wrapped.active_adapter].base_model_name_or_path = model.name_or_path
    with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
        saved = set(stored.keys())
    expected = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    if saved != expected:
        raise UserError(
            "the adapter does not fit the model",
            where=str(folder),
            seen=f"{len(expected - saved)} tensors missing, {len(saved - expected)} unexpected",
            hint="use the base model that the adapter was trained on",
        )
    return wrapped


def _text_linears(model: PreTrainedModel) -> str:
    """One anchored pattern: PEFT's short names would also match the vision tower."""
    layers = text_layers(model)
    prefix = next(name for name, module in model.named_modules() if module is layers)
    leaves = sorted(
        {
            name.split(".", 1)[1]
            for name, module in layers.named_modules()
            if isinstance(module, nn.Linear)
        }
    )

    alternatives = "|".join(re.escape(leaf) for leaf in leaves)
    return rf"{re.escape(prefix)}\.\d+\.({alternatives})"
