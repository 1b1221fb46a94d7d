"""What is read from the vision towers, and what every layer makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptinf.adapters.adem.families import eyes_of
from adaptinf.adapters.adem.layer import AdemMlp
from adaptinf.adapters.adem.prompt import VisualPrompt
from adaptinf.errors import UserError
from tests.adapters.adem.formulas import slowly
from tests.families import FAMILIES, Row

Make = Callable[..., Any]


def features(family: str, model: Any, row: Row) -> list[Tensor]:
    """Features [rows, columns, width] of the images of a row, or of their tiles."""
    tower = model.get_encoder(modality="image")
    found = []
    for picture in row.pictures:
        pixels = picture.tensors["pixel_values"]
        if family == "qwen2_5_vl":
            grid = picture.tensors["image_grid_thw"]
            states = tower(pixels, grid_thw=grid).pooler_output
            found.append(states.view(int(grid[0, 1]) // 2, int(grid[0, 2]) // 2, -1))
        elif family == "llava":
            states = tower(pixels, output_hidden_states=True).hidden_states[-2]
            found += tower.post_layernorm(states)[:, 1:].unflatten(1, (4, 4))
        else:
            found += tower(pixels).last_hidden_state[:, -16:].unflatten(1, (4, 4))
    return found


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "internvl", "gemma3"])
def test_every_layer_adds_the_formulas_of_its_rows_own_images(
    make: Make, make_rows: Make, logits: Make, family: str
) -> None:
    """By loops over rows, tokens and keys, from the pixels on."""
    model, rows = make(family, "add", adapter_dim=0, alpha=0.7, drop_ratio=0.3), make_rows(family)
    batch = FAMILIES[family].batch(rows)
    heard: list[tuple[Tensor, Tensor]] = []
    layers = [m for m in model.modules() if isinstance(m, AdemMlp)]
    for layer in layers:
        layer.register_forward_hook(lambda _, given, result: heard.append((given[0], result)))
    logits(model, batch)
    assert len(heard) == len(layers) == 3
    prompt = next(m for m in model.modules() if isinstance(m, VisualPrompt))
    base = FAMILIES[family].build()
    with torch.no_grad():
        for i, row in enumerate(rows):
            prompts = []
            for picture in features(family, base, row):
                scales = [
                    F.adaptive_avg_pool2d(picture.permute(2, 0, 1), n).flatten(1).T for n in (4, 2)
                ]
                prompts.append(prompt.phi(torch.cat(scales)))
            keys = [F.silu(p + prompt.e1) for p in prompts]
            values = [p + prompt.e2 for p in prompts]
            for layer, (x, result) in zip(layers, heard, strict=True):
                seen = result[i] - layer.base_layer(x[i])
                expected = torch.zeros_like(seen)
                if prompts:
                    expected = 0.7 * slowly(x[i], torch.cat(keys), torch.cat(values), 0.3)
                scale = float(expected.abs().max()) or 1.0
                torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4 * scale)


def test_a_layer_of_the_tower_can_be_counted_from_either_end() -> None:
    model = FAMILIES["llava"].build()
    for layer, blocks in ((-1, 2), (-2, 1), (-3, 0), (0, 0), (1, 1), (2, 2)):
        model.config.vision_feature_layer = layer
        assert len(eyes_of(model, "add").blocks) == blocks
    model.config.vision_feature_layer = [0, 1]
    with pytest.raises(UserError, match=r"one layer.*\[0, 1\]"):
        eyes_of(model, "add")


def test_the_merger_of_qwen_is_no_block() -> None:
    eyes = eyes_of(FAMILIES["qwen2_5_vl"].build(), "replace")
    assert isinstance(eyes.tower, nn.Module)
    assert (eyes.width, len(eyes.blocks)) == (48, 2)
