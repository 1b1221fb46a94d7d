from __future__ import annotations

import pytest
import torch
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, T5Config

from adaptinf.errors import UserError
from adaptinf.models.backbone import Backbone
from tests.families import FAMILIES, Shape
from tests.families.sizes import VISION

SHAPES = [Shape(4, 2, 1), Shape(6, 2, 2)]


@pytest.fixture(scope="module")
def instructblip():
    return FAMILIES["instructblip"].build()


def states(model, rows):
    batch = FAMILIES["instructblip"].batch(rows)
    del batch["labels"]
    with torch.no_grad():
        return Backbone(model)(batch)


def test_every_image_of_a_row_is_asked_the_question_of_its_row(instructblip):
    rows = FAMILIES["instructblip"].rows(SHAPES)
    together = states(instructblip, rows)
    for i, row in enumerate(rows):
        alone = states(instructblip, [row])[0]
        torch.testing.assert_close(together[i, : len(row)], alone, rtol=1e-4, atol=1e-5)
    swapped = states(instructblip, [rows[1], rows[0]])
    torch.testing.assert_close(swapped[1, : len(rows[0])], together[0, : len(rows[0])])


def test_encoder_decoders_are_refused(instructblip):
    text = T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=2, vocab_size=20, d_kv=8)
    config = InstructBlipConfig(
        text_config=text,
        vision_config=VISION,
        qformer_config=instructblip.config.qformer_config,
        image_token_index=5,
    )
    with torch.device("meta"):
        model = InstructBlipForConditionalGeneration(config)
    with pytest.raises(UserError, match=r"encoder-decoder \(seen: 't5'\)"):
        Backbone(model)


def test_a_model_without_a_part_below_its_head_is_refused():
    with pytest.raises(UserError, match="LlavaModel has no inner model"):
        Backbone(FAMILIES["llava"].build().model)
