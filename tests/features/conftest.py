"""A tiny random LLaVA with a LoRA adapter, and mixed batches for it, built by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

VOCAB = 97
IMAGE_TOKEN = 5
PATCHES = 16


@dataclass(frozen=True)
class Row:
    """One unpadded row: ``input_ids`` and ``labels`` [T], ``pixels`` [images, 3, 32, 32]."""

    input_ids: Tensor
    labels: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)


def _llava(
    seed: int = 0, dropout: float = 0.0, use_dora: bool = False, layers: int = 3
) -> PeftModel:
    torch.manual_seed(seed)
    config = LlavaConfig(
        text_config=LlamaConfig(
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=VOCAB,
            initializer_range=0.2,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=32,
            patch_size=8,
            projection_dim=32,
        ),
        image_token_index=IMAGE_TOKEN,
        image_seq_length=PATCHES,
    )
    lora = LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=dropout,
        use_dora=use_dora,
        target_modules=r".*language_model\.layers\.\d+\.(self_attn|mlp)\..*_proj",
    )
    model = get_peft_model(LlavaForConditionalGeneration(config).float(), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


def _row(generator: torch.Generator, prompt: int, answer: int, images: int) -> Row:
    words = torch.randint(6, VOCAB, (prompt + answer + 3,), generator=generator)
    picture = torch.full((PATCHES,), IMAGE_TOKEN)
    pieces = [words[:1], *[piece for i in range(images) for piece in (picture, words[i : i + 1])]]
    ids = torch.cat([*pieces, words[3:]])
    labels = torch.full_like(ids, -100)
    if answer:
        labels[-answer:] = ids[-answer:]
    # An answer in two turns: one token in the middle of it is not answered for.
    if answer > 3:
        labels[-3] = -100
    return Row(ids, labels, torch.randn(images, 3, 32, 32, generator=generator))


def _collate(rows: Sequence[Row], side: str = "right") -> dict[str, Tensor]:
    longest = max(len(row) for row in rows)

    def pad(values: Tensor, filler: int) -> Tensor:
        fill = values.new_full((longest - len(values),), filler)
        return torch.cat([fill, values] if side == "left" else [values, fill])

    batch = {
        "input_ids": torch.stack([pad(row.input_ids, 0) for row in rows]),
        "attention_mask": torch.stack([pad(torch.ones_like(row.labels), 0) for row in rows]),
        "labels": torch.stack([pad(row.labels, -100) for row in rows]),
    }
    pixels = torch.cat([row.pixels for row in rows])
    return {**batch, "pixel_values": pixels} if len(pixels) else batch


@pytest.fixture(scope="session")
def make_llava() -> Callable[..., PeftModel]:
    return _llava


@pytest.fixture(scope="session")
def collate() -> Callable[..., dict[str, Tensor]]:
    return _collate


@pytest.fixture(scope="session")
def make_row() -> Callable[..., Row]:
    return _row


@pytest.fixture(scope="module")
def llava() -> PeftModel:
    return _llava()


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Text-only, one image, two images, text-only, one image; all of different length."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(6, 4, 0), (5, 7, 1), (9, 1, 2), (17, 3, 0), (2, 6, 1)]
    return [_row(generator, *shape) for shape in shapes]
