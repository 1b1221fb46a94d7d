"""LLaVA, LLaVA-NeXT and LLaVA-OneVision: a vision tower, two linear maps, images in tiles."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2Config,
    SiglipVisionConfig,
)

from tests.families.family import Family, Images
from tests.families.rows import IMAGE, Picture
from tests.families.sizes import TEXT, VISION, pixels, settled

PATCHES = 16
"""Patches of one tile, 4 x 4."""

GRIDS = [[32, 64], [64, 32], [64, 64]]


def _llava() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        image_token_index=IMAGE,
        image_seq_length=PATCHES,
    )
    return settled(LlavaForConditionalGeneration(config))


def _llava_next() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlavaNextConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        image_token_index=IMAGE,
        image_grid_pinpoints=GRIDS,
    )
    return settled(LlavaNextForConditionalGeneration(config))


def _onevision() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**TEXT),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        image_token_index=IMAGE,
        video_token_index=IMAGE + 1,
        image_grid_pinpoints=GRIDS,
    )
    return settled(LlavaOnevisionForConditionalGeneration(config))


def _picture(generator: torch.Generator, alone: bool) -> Picture:
    return Picture(torch.full((PATCHES,), IMAGE), {"pixel_values": pixels(generator)})


def _tiled(generator: torch.Generator, alone: bool) -> Picture:
    """An image that fills two tiles, one above the other, or one that fills four."""
    wide = 1 + int(torch.randint(2, (1,), generator=generator))
    tokens = PATCHES + 8 * (4 * wide + 1)
    return Picture(
        torch.full((tokens,), IMAGE),
        {
            "pixel_values": pixels(generator, 1 + 2 * wide),
            "image_sizes": torch.tensor([[64, 32 * wide]]),
        },
    )


def _tiled_if_alone(generator: torch.Generator, alone: bool) -> Picture:
    if alone:
        return _tiled(generator, alone)
    return Picture(
        torch.full((PATCHES + 1,), IMAGE),
        {"pixel_values": pixels(generator), "image_sizes": torch.tensor([[32, 32]])},
    )


def _stacked(images: Images) -> dict[str, Tensor]:
    """Images [n, tiles, 3, 32, 32], filled up with tiles of zeros."""
    pictures = [picture for row in images for picture in row]
    tiles = torch.nn.utils.rnn.pad_sequence(
        [picture.tensors["pixel_values"] for picture in pictures], batch_first=True
    )
    sizes = torch.cat([picture.tensors["image_sizes"] for picture in pictures])
    return {"pixel_values": tiles, "image_sizes": sizes}


def _counted(images: Images) -> dict[str, Tensor]:
    counts = torch.tensor([len(row) for row in images if row])
    return {**_stacked(images), "batch_num_images": counts}


LLAVA = Family(_llava, _picture)
LLAVA_NEXT = Family(_llava_next, _tiled, together=_stacked)
LLAVA_ONEVISION = Family(_onevision, _tiled_if_alone, together=_counted)
