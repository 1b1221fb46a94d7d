"""A tiny random LLaVA, its MixLoRA adapter, and padded batches with images, all by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from adaptinf.adapters.mixlora import MixLoraConfig

VOCAB = 97
IMAGE_TOKEN = 5
PATCHES = 16
TARGETS = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"

Row = dict[str, Tensor]


def _base(dtype: torch.dtype = torch.float32) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=VOCAB,
            initializer_range=0.3,
            pad_token_id=0,
            eos_token_id=None,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
            projection_dim=24,
        ),
        image_token_index=IMAGE_TOKEN,
        image_seq_length=PATCHES,
    )
    return LlavaForConditionalGeneration(config).to(dtype).eval()


def _adapted(*, fresh: bool = False, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """An adapted model; its B factors are drawn instead of zero unless ``fresh``."""
    base = _base(dtype)
    torch.manual_seed(1)
    settings = {"target_modules": TARGETS, "num_experts": 6, "rank": 2, "dropout": 0.0} | options
    model = get_peft_model(base, MixLoraConfig(**settings))
    if not fresh:
        _draw(model)
    return model


def _draw(model: PeftModel, seed: int = 2) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pool_b" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def _row(generator: torch.Generator, prompt: int, answer: int, images: int) -> Row:
    words = torch.randint(6, VOCAB, (1 + prompt + answer,), generator=generator)
    ids = torch.cat([words[:1], torch.full((PATCHES * images,), IMAGE_TOKEN), words[1:]])
    labels = torch.full_like(ids, -100)
    if answer:
        labels[-answer:] = ids[-answer:]
    pixels = torch.randn(images, 3, 32, 32, generator=generator)
    return {"ids": ids, "labels": labels, "pixels": pixels}


def _collate(rows: Sequence[Row], side: str = "left", labels: bool = False) -> dict[str, Tensor]:
    longest = max(len(row["ids"]) for row in rows)

    def pad(values: Tensor, filler: int) -> Tensor:
        fill = values.new_full((longest - len(values),), filler)
        return torch.cat([fill, values] if side == "left" else [values, fill])

    batch = {
        "input_ids": torch.stack([pad(row["ids"], 0) for row in rows]),
        "attention_mask": torch.stack([pad(torch.ones_like(row["ids"]), 0) for row in rows]),
    }
    if labels:
        batch["labels"] = torch.stack([pad(row["labels"], -100) for row in rows])
    pixels = torch.cat([row["pixels"] for row in rows])
    return {**batch, "pixel_values": pixels} if len(pixels) else batch


@pytest.fixture(scope="session")
def make_base() -> Callable[..., LlavaForConditionalGeneration]:
    return _base


@pytest.fixture(scope="session")
def make_adapted() -> Callable[..., PeftModel]:
    return _adapted


@pytest.fixture(scope="session")
def draw() -> Callable[..., None]:
    return _draw


@pytest.fixture(scope="session")
def collate() -> Callable[..., dict[str, Tensor]]:
    return _collate


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Text alone, one image, two images, text alone; all of different length, with answers."""
    generator = torch.Generator().manual_seed(3)
    return [_row(generator, *shape) for shape in [(6, 4, 0), (5, 7, 1), (9, 2, 2), (13, 3, 0)]]


@pytest.fixture(scope="session")
def prompts(rows: list[Row]) -> list[Row]:
    """The rows without their answers."""
    return [
        {**row, "ids": row["ids"][row["labels"] == -100], "labels": row["labels"][:0]}
        for row in rows
    ]
