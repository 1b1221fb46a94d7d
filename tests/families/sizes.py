"""The sizes that the tiny models share."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tests.families.rows import VOCAB

Model = TypeVar("Model", bound=nn.Module)

SIDE = 32
"""Pixels of a square image."""

TEXT: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
    "initializer_range": 0.2,
}


def pixels(generator: torch.Generator, count: int = 1) -> Tensor:
    """Random normalised images [count, 3, 32, 32]."""
    return torch.randn(count, 3, SIDE, SIDE, generator=generator)


def settled(model: Model, seed: int = 0) -> Model:
    """The model in evaluation mode, with values where the library leaves zeros."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1, generator=generator)
    return model.float().eval()
