"""Idefics2, Idefics3 and SmolVLM: as many images for every row, those that lack filled by zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from tests.families.family import Family, Images
from tests.families.rows import IMAGE, Picture
from tests.families.sizes import SIDE, TEXT, VISION, pixels, settled

AROUND = IMAGE + 1
TOKENS = 4
PERCEIVER = {
    "hidden_size": 48,
    "resampler_n_latents": TOKENS,
    "resampler_depth": 1,
    "resampler_n_heads": 4,
    "resampler_head_dim": 12,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}


def _idefics2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Idefics2Config(
        text_config=MistralConfig(**TEXT),
        vision_config=VISION,
        perceiver_config=PERCEIVER,
        image_token_id=IMAGE,
    )
    return settled(Idefics2ForConditionalGeneration(config))


def _idefics3() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Idefics3Config(
        text_config=LlamaConfig(**TEXT), vision_config=VISION, image_token_id=IMAGE
    )
    return settled(Idefics3ForConditionalGeneration(config))


def _smolvlm() -> PreTrainedModel:
    torch.manual_seed(0)
    config = SmolVLMConfig(
        text_config=LlamaConfig(**TEXT), vision_config=VISION, image_token_id=IMAGE
    )
    return settled(SmolVLMForConditionalGeneration(config))


def _picture(generator: torch.Generator, alone: bool) -> Picture:
    """An image, every other one too low for its square, so that the rest is padding."""
    tokens = torch.full((TOKENS + 2,), IMAGE)
    tokens[0] = tokens[-1] = AROUND
    seen = torch.ones(1, SIDE, SIDE, dtype=torch.long)
    seen[:, int(torch.randint(20, 2 * SIDE, (1,), generator=generator)) :] = 0
    tensors = {"pixel_values": pixels(generator) * seen[:, None], "pixel_attention_mask": seen}
    return Picture(tokens, tensors)


def _filled(images: Images) -> dict[str, Tensor]:
    """Images [rows, most images, 3, 32, 32] and which of their pixels are no padding."""
    most = max(len(row) for row in images)
    values = torch.zeros(len(images), most, 3, SIDE, SIDE)
    seen = torch.zeros(len(images), most, SIDE, SIDE, dtype=torch.long)
    for i, row in enumerate(images):
        for j, picture in enumerate(row):
            values[i, j] = picture.tensors["pixel_values"][0]
            seen[i, j] = picture.tensors["pixel_attention_mask"][0]
    return {"pixel_values": values, "pixel_attention_mask": seen}


IDEFICS2 = Family(_idefics2, _picture, together=_filled, blank=-1.0)
IDEFICS3 = Family(_idefics3, _picture, together=_filled, blank=-1.0)
SMOLVLM = Family(_smolvlm, _picture, together=_filled, blank=-1.0)
