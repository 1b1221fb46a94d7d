"""Models of the recipes in the shapes that they are published in, and their parameters counted.

Shapes are those of the models' own ``config.json``; no weights are made or fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config import Recipe


@dataclass(frozen=True, slots=True)
class Shape:
    """A model as published; ``tokens`` and ``patches`` of an image, Qwen's at 640 x 480 pixels."""

    config: Mapping[str, Any]
    tokens: int
    patches: int


def _llava(pixels: int, tokens: int) -> Shape:
    vision = {
        "model_type": "clip_vision_model",
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
        **{"num_attention_heads": 16, "image_size": pixels, "patch_size": 14},
    }
    text = {"model_type": "llama", "vocab_size": 32_064}  # the rest are Llama's defaults
    shape = {"model_type": "llava", "text_config": text, "vision_config": vision}
    return Shape({**shape, "image_token_index": 32_000}, tokens, tokens + 1)


def _qwen3(text: Mapping[str, Any], vision: Mapping[str, Any], tied: bool) -> Shape:
    config = {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": tied,
        "text_config": {"vocab_size": 151_936, "head_dim": 128, "num_key_value_heads": 8, **text},
        "vision_config": {
            **{"num_heads": 16, "patch_size": 16, "spatial_merge_size": 2},
            **{"num_position_embeddings": 2304, "out_hidden_size": text["hidden_size"], **vision},
        },
    }
    return Shape(config, 300, 1200)


_LLAVA = _llava(336, 576)
SHAPES = {
    "llava-hf/llava-1.5-7b-hf": _LLAVA,
    "./models/llava-v1.5-7b": _LLAVA,
    "./models/llava-v1.5-pretrain-7b": _LLAVA,
    "./models/llava-pretrain-7b-v1.3": _llava(224, 256),
    "Qwen/Qwen3-VL-2B-Instruct": _qwen3(
        {
            **{"hidden_size": 2048, "intermediate_size": 6144},
            **{"num_hidden_layers": 28, "num_attention_heads": 16},
        },
        {
            **{"hidden_size": 1024, "intermediate_size": 4096, "depth": 24},
            "deepstack_visual_indexes": [5, 11, 17],
        },
        tied=True,
    ),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3(
        {
            **{"hidden_size": 4096, "intermediate_size": 12_288},
            **{"num_hidden_layers": 36, "num_attention_heads": 32},
        },
        {
            **{"hidden_size": 1152, "intermediate_size": 4304, "depth": 27},
            "deepstack_visual_indexes": [8, 16, 24],
        },
        tied=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters that a token and a patch pass, those that are trained, and all of the model's."""

    text: int
    vision: int
    trained: int
    whole: int
    sees: bool
    """Something is trained in the vision tower, so a backward pass goes through it."""


def parameters(recipe: Recipe) -> Parameters:
    """Counted on the meta device: the published shape with the recipe's adapter, no weights."""
    from transformers import AutoConfig

    from adaptinf.models.loading import ModelSource
    from stages.cutting import build_model

    shape = SHAPES[recipe.model.name].config
    config = AutoConfig.for_model(**shape)
    source = ModelSource.of(recipe.model)
    model = build_model(source, config, recipe, "meta")
    named = list(model.named_parameters())
    trained = [name for name, p in named if p.requires_grad]
    sizes = {name: p.numel() for name, p in named if not p.requires_grad}
    vision = sum(size for name, size in sizes.items() if _is_vision(name))
    tables = model.get_input_embeddings().weight.numel()
    tied = bool(getattr(config, "tie_word_embeddings", False))
    whole = sum(sizes.values())
    return Parameters(
        text=whole - vision - (0 if tied else tables),
        vision=vision,
        trained=sum(p.numel() for _, p in named if p.requires_grad) if recipe.tasks else 0,
        whole=whole,
        sees=any(map(_is_vision, trained)),
    )


def _is_vision(name: str) -> bool:
    return "vision_tower" in name or ".visual." in name
