"""Put an adapter on a model, or load the one that an earlier step trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors import SafetensorError
from transformers import PreTrainedModel

from adaptinf.adapters.adem import AdemConfig
from adaptinf.adapters.mixlora import MixLoraConfig
from adaptinf.adapters.placement import Targets, find_targets
from adaptinf.adapters.presets import placements
from adaptinf.errors import UserError, suggestion
from adaptinf.routes import ROUTES, AdapterSettings, Placement


def attach(
    model: PreTrainedModel, route: str = "lora", *, seed: int = 0, **options: Any
) -> PeftModel:
    """A fresh adapter on ``model``; all else is frozen. ``options``: those of ``AdapterSettings``.

    Without a placement it goes on every linear module of the text layers. Vision tower and
    connector stay as they are: a tuned vision tower forgets (docs/architecture.md weighs the
    evidence). At the start every route changes nothing, but for
    adem's mode ``replace``. Random weights are drawn from ``seed``.

    - lora (Hu et al. 2022): ``y = W x + alpha/r B A x``, ``B = 0`` at the start.
    - dora (Liu et al. 2024): the rows of ``W + alpha/r B A`` get the lengths ``m``, trained too.
    - conlora: LoRA on upper vision blocks, connector and text at once.
    - mixlora (Shen et al. 2024): ``r`` factors of ``num_experts``, chosen for each row.
    - adem (Hao et al. 2024): attention to pooled images beside the feed-forward modules.
    - full: text layers and connector themselves, in copies beside the base model's.

    Raises:
        UserError: an unknown route, or a placement that the model or the route cannot have.
    """
    settings = AdapterSettings(route, **options)
    if route not in ROUTES:
        raise UserError(
            "unknown adapter route",
            where="adapter.route",
            seen=route,
            hint=suggestion(route, ROUTES),
        )
    places = _places(model, settings)
    config = _CONFIGS[route](settings, find_targets(model, places), places)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def learning_rates(model: PeftModel, route: str = "lora", **options: Any) -> dict[str, float]:
    """Learning rates of the trainable parameters, by name, that the placement gives one of its own.

    Route and options are those that ``model`` was made with.
    """
    targets = find_targets(model, _places(model, AdapterSettings(route, **options)))
    rates = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            for module, rate in targets.rates.items():
                if name.startswith(f"base_model.model.{module}."):
                    rates[name] = rate
    return rates


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """The model with the adapter of ``folder``; every adapter tensor must find its place.

    Raises:
        UserError: the folder's tensors and the model's adapter modules are not the same set, or its
            configuration is of no adapter for this model.
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    try:
        wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise UserError(
            "no adapter for this model", where=str(folder), seen=f"{type(error).__name__}: {error}"
        ) from error
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


def _places(model: PreTrainedModel, settings: AdapterSettings) -> tuple[Placement, ...]:
    places = placements(model, settings.places)
    return tuple(replace(p, r="full") for p in places) if settings.route == "full" else places


def _lora(settings: AdapterSettings, targets: Targets, places: tuple[Placement, ...]) -> LoraConfig:
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.weight,
        lora_dropout=settings.dropout,
        target_modules=targets.pattern,
        rank_pattern=targets.ranks,
        alpha_pattern=targets.alphas,
        modules_to_save=list(targets.whole) or None,
        use_dora=settings.route == "dora",
        bias="none",
    )


def _mixlora(
    settings: AdapterSettings, targets: Targets, places: tuple[Placement, ...]
) -> PeftConfig:
    for place in places:
        if place.r != "full" and (place.part != "text" or place.r or place.alpha):
            raise UserError(
                "MixLoRA goes on the text part, with one rank and alpha",
                where="adapter.placement",
                seen=place,
                hint="give part: text without r and alpha; a connector can have r: full",
            )
    return MixLoraConfig(
        target_modules=targets.pattern,
        modules_to_save=list(targets.whole) or None,
        num_experts=settings.num_experts,
        rank=settings.r,
        alpha=settings.weight,
        dropout=settings.dropout,
        routing=settings.routing,
        routers=settings.routers,
    )


def _adem(settings: AdapterSettings, targets: Targets, places: tuple[Placement, ...]) -> PeftConfig:
    for place in places:
        if place.r != "full":
            raise UserError(
                "ADEM has a place of its own, beside every feed-forward module of the text",
                where="adapter.placement",
                seen=place,
                hint="leave it out; parts with r: full can be trained as well",
            )
    return AdemConfig(
        modules_to_save=list(targets.whole) or None,
        mode=settings.mode,
        alpha=settings.weight,
        beta=settings.beta,
        drop_ratio=settings.drop_ratio,
        down_sample_num=list(settings.down_sample_num),
        hidden_proj=settings.hidden_proj,
        adapter_dim=settings.adapter_dim,
        dropout=settings.dropout,
    )


def _full(settings: AdapterSettings, targets: Targets, places: tuple[Placement, ...]) -> PeftConfig:
    """A LoRA folder without LoRA, so that PEFT reads it as it is."""
    return LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=list(targets.whole))


_CONFIGS = {
    "lora": _lora,
    "dora": _lora,
    "conlora": _lora,
    "mixlora": _mixlora,
    "adem": _adem,
    "full": _full,
}
