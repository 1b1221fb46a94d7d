"""InstructBLIP on Llama, BLIP-2 on OPT: a Q-Former puts a fixed number of queries to an image."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    OPTConfig,
    PreTrainedModel,
)

from tests.families.family import Family
from tests.families.rows import IMAGE, Picture, Row
from tests.families.sizes import TEXT, VISION, pixels, settled

QUERIES = 4
QFORMER = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "encoder_hidden_size": 32,
    "initializer_range": 0.2,
}
# With OPT's own ReLU one rounding in half precision opens what another leaves shut.
OPT = {
    "activation_function": "gelu",
    "hidden_size": 48,
    "word_embed_proj_dim": 48,
    "ffn_dim": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": TEXT["vocab_size"],
    "init_std": 0.1,
    "pad_token_id": 0,
}


def _instructblip() -> PreTrainedModel:
    torch.manual_seed(0)
    config = InstructBlipConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=VISION,
        qformer_config=QFORMER,
        num_query_tokens=QUERIES,
        image_token_index=IMAGE,
    )
    return settled(InstructBlipForConditionalGeneration(config))


def _blip2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Blip2Config(
        text_config=OPTConfig(**OPT),
        vision_config=VISION,
        qformer_config=QFORMER,
        num_query_tokens=QUERIES,
        image_token_index=IMAGE,
    )
    return settled(Blip2ForConditionalGeneration(config))


def _picture(generator: torch.Generator, alone: bool) -> Picture:
    return Picture(torch.full((QUERIES,), IMAGE), {"pixel_values": pixels(generator)})


def _question(row: Row) -> dict[str, Tensor]:
    """The words of the prompt as the Q-Former's own tokens, one set per row."""
    asked = row.input_ids[(row.labels == -100) & (row.input_ids != IMAGE)] % 49 + 1
    return {"qformer_input_ids": asked, "qformer_attention_mask": torch.ones_like(asked)}


def _logits(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """One row: the language model alone without images, the question once for each image."""
    if "pixel_values" not in batch:
        asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return model.language_model(**asked).logits
    images = len(batch["pixel_values"])
    repeated = {
        name: value.expand(images, -1) if name.startswith("qformer_") else value
        for name, value in batch.items()
    }
    return model(**repeated).logits


INSTRUCTBLIP = Family(
    _instructblip, _picture, question=_question, logits=_logits, images_first=True
)
BLIP2 = Family(_blip2, _picture, logits=_logits, images_first=True)
