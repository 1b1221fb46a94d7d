"""Qwen2.5-VL and Qwen3-VL: patches of all images in one list, positions in three dimensions."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from tests.families.family import Family
from tests.families.rows import IMAGE, Picture, Row
from tests.families.sizes import TEXT, settled

PATCH = 4
NAMES = {
    "image_token_id": IMAGE,
    "video_token_id": IMAGE + 1,
    "vision_start_token_id": IMAGE + 2,
    "vision_end_token_id": IMAGE + 3,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "depth": 2,
    "num_heads": 4,
    "patch_size": PATCH,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 48,
    "initializer_range": 0.2,
}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 2, 2]}


def _qwen2_5() -> PreTrainedModel:
    torch.manual_seed(0)
    vision = {**VISION, "window_size": 16, "fullatt_block_indexes": [1]}
    text = {**TEXT, "rope_parameters": ROPE}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **NAMES)
    return settled(Qwen2_5_VLForConditionalGeneration(config))


def _qwen3() -> PreTrainedModel:
    torch.manual_seed(0)
    vision = {**VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
    text = {**TEXT, "head_dim": 12, "rope_parameters": {**ROPE, "mrope_interleaved": True}}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **NAMES)
    return settled(Qwen3VLForConditionalGeneration(config))


def _picture(generator: torch.Generator, alone: bool) -> Picture:
    """An image of 4 x 4 or 4 x 6 patches; four patches become one token."""
    wide = 4 + 2 * int(torch.randint(2, (1,), generator=generator))
    tokens = torch.full((wide + 2,), IMAGE)
    tokens[0], tokens[-1] = NAMES["vision_start_token_id"], NAMES["vision_end_token_id"]
    patches = torch.randn(4 * wide, 3 * 2 * PATCH**2, generator=generator)
    grid = torch.tensor([[1, 4, wide]])
    return Picture(tokens, {"pixel_values": patches, "image_grid_thw": grid})


def _marks(row: Row) -> dict[str, Tensor]:
    return {"mm_token_type_ids": (row.input_ids == IMAGE).long()}


QWEN2_5_VL = Family(_qwen2_5, _picture, marks=_marks)
QWEN3_VL = Family(_qwen3, _picture, marks=_marks)
