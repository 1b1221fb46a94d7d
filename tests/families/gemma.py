"""Gemma 3, PaliGemma and PaliGemma 2: parts of the text are attended to in both directions."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
)

from tests.families.family import Family
from tests.families.rows import IMAGE, Picture, Row
from tests.families.sizes import TEXT, VISION, pixels, settled

BOI, EOI = IMAGE + 1, IMAGE + 2
WINDOW = 12
"""Shorter than the rows, so that it matters."""

LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]


def _gemma3() -> PreTrainedModel:
    torch.manual_seed(0)
    text = {**TEXT, "head_dim": 12, "query_pre_attn_scalar": 12}
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**text, sliding_window=WINDOW, layer_types=LAYERS),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=BOI,
        eoi_token_index=EOI,
    )
    return settled(Gemma3ForConditionalGeneration(config))


def _pali(text_config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    config = PaliGemmaConfig(
        text_config=text_config,
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False, projection_dim=48),
        projection_dim=48,
        hidden_size=48,
        vocab_size=TEXT["vocab_size"],
        image_token_index=IMAGE,
    )
    return settled(PaliGemmaForConditionalGeneration(config))


def _paligemma() -> PreTrainedModel:
    return _pali(GemmaConfig(**TEXT, head_dim=12))


def _paligemma2() -> PreTrainedModel:
    text = {**TEXT, "head_dim": 12, "query_pre_attn_scalar": 12}
    return _pali(
        Gemma2Config(**text, sliding_window=WINDOW, layer_types=LAYERS, final_logit_softcapping=2.0)
    )


def _framed(generator: torch.Generator, alone: bool) -> Picture:
    tokens = torch.tensor([BOI, IMAGE, IMAGE, IMAGE, IMAGE, EOI])
    return Picture(tokens, {"pixel_values": pixels(generator)})


def _bare(generator: torch.Generator, alone: bool) -> Picture:
    return Picture(torch.full((16,), IMAGE), {"pixel_values": pixels(generator)})


def _images(row: Row) -> dict[str, Tensor]:
    return {"token_type_ids": (row.input_ids == IMAGE).long()}


def _suffix(row: Row) -> dict[str, Tensor]:
    return {"token_type_ids": (row.labels != -100).long()}


GEMMA3 = Family(_gemma3, _framed, marks=_images)
PALIGEMMA = Family(_paligemma, _bare, marks=_suffix, images_first=True)
PALIGEMMA2 = Family(_paligemma2, _bare, marks=_suffix, images_first=True)
