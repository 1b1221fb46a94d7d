"""A recipe's model with random weights, whole or cut to its first layers."""

from __future__ import annotations

import copy
from typing import Any

import torch

from adaptinf.adapters.attachment import attach
from adaptinf.models.loading import ModelSource, dtype_of
from config import Recipe

_DEPTHS = ("num_hidden_layers", "depth")


def build_model(source: ModelSource, config: Any, recipe: Recipe, device: Any) -> Any:
    """A model of that configuration with random weights and the recipe's adapter."""
    import transformers

    extra = {"attn_implementation": source.attention} if source.attention else {}
    with torch.device(device):
        auto: Any = transformers.AutoModelForImageTextToText
        model = auto.from_config(config, dtype=dtype_of(source, config), **extra)
    return attach(model, **recipe.adapter.options)


def everywhere(recipe: Recipe) -> Recipe:
    """The recipe with its adapter on all layers of a part: a cut model lacks those of a range."""
    adapter = recipe.adapter
    if not isinstance(adapter.placement, tuple):
        return recipe
    places = tuple(place.model_copy(update={"layers": "all"}) for place in adapter.placement)
    adapter = adapter.model_copy(update={"placement": places})
    return recipe.model_copy(update={"adapter": adapter})


def cut_config(config: Any, text: int, vision: int) -> Any:
    """The same model with so many layers in its towers."""
    cut = copy.deepcopy(config)
    _shorten(cut.get_text_config(), text)
    _shorten(getattr(cut, "vision_config", None), vision)
    if isinstance(getattr(cut, "vision_feature_layer", None), int):
        cut.vision_feature_layer = -1
    return cut


def _shorten(part: Any, layers: int) -> None:
    for name in _DEPTHS:
        if getattr(part, name, None):
            setattr(part, name, layers)
    if getattr(part, "layer_types", None):
        part.layer_types = part.layer_types[:layers]


def depth(part: Any) -> int:
    """Layers of a tower, by its configuration; 0 where there is none."""
    return next((getattr(part, name) for name in _DEPTHS if getattr(part, name, None)), 0)
