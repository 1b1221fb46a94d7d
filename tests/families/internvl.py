"""InternVL: tiles of all images in one list, four patches to a token."""

from __future__ import annotations

import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    PreTrainedModel,
    Qwen2Config,
)

from tests.families.family import Family
from tests.families.rows import IMAGE, Picture
from tests.families.sizes import SIDE, TEXT, VISION, pixels, settled

TOKENS = 4


def _internvl() -> PreTrainedModel:
    torch.manual_seed(0)
    vision = {**VISION, "image_size": (SIDE, SIDE), "patch_size": (8, 8)}
    config = InternVLConfig(
        text_config=Qwen2Config(**TEXT),
        vision_config=InternVLVisionConfig(**vision),
        image_token_id=IMAGE,
        image_seq_length=TOKENS,
    )
    return settled(InternVLForConditionalGeneration(config))


def _picture(generator: torch.Generator, alone: bool) -> Picture:
    """An image of one tile or of three."""
    tiles = 1 + 2 * int(torch.randint(2, (1,), generator=generator))
    tokens = torch.full((TOKENS * tiles + 2,), IMAGE)
    tokens[0], tokens[-1] = IMAGE + 1, IMAGE + 2
    return Picture(tokens, {"pixel_values": pixels(generator, tiles)})


INTERNVL = Family(_internvl, _picture)
