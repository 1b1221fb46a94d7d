"""The first look at rows: mean states of an early layer, and a pass that goes no further."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from adaptinf.features.glance import Glance, projection
from adaptinf.models.parts import image_token_id, text_layers
from tests.families import FAMILIES, Shape
from tests.features.plain import relative

SHAPES = [Shape(6, 4, 0), Shape(5, 7, 1), Shape(9, 2, 1)]


@pytest.mark.parametrize("name", ["llava", "qwen3_vl", "idefics3", "instructblip"])
def test_a_look_is_the_mean_state_of_text_and_of_images(name):
    family = FAMILIES[name]
    model, rows = family.build().eval(), family.rows(SHAPES)
    glance = Glance(model, 10_000, 0, 1)
    out = glance(family.batch(rows, "left"))
    assert out.shape == (len(rows), glance.width)
    heard = []
    text_layers(model)[1].register_forward_hook(lambda _, args, output: heard.append(output))
    for row, look in zip(rows, out, strict=True):
        if name == "instructblip" and not row.pictures:
            continue  # the model's own forward pass takes no row without an image
        batch = family.batch([row])
        del batch["labels"]
        with torch.no_grad():
            model(**batch)
        state = heard[-1][0] if isinstance(heard[-1], tuple) else heard[-1]
        state = state.reshape(len(row.input_ids), -1)
        image = row.input_ids == image_token_id(model)
        parts = [state[mask].mean(0) if mask.any() else state[0] * 0 for mask in (~image, image)]
        assert relative(look, torch.cat([normalize(part, dim=0) for part in parts])) < 1e-5


def test_no_later_layer_runs_and_the_model_is_left_as_it_was():
    family = FAMILIES["llava"]
    model = family.build().train()
    layers, ran = text_layers(model), []
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    glance = Glance(model, 64, 0)
    glance(family.batch(family.rows(SHAPES)))
    assert ran == list(range(glance.layer + 1))
    assert glance.layer + 1 < len(layers)
    assert model.training
    assert not any(layer._forward_hooks for layer in layers)


def test_a_long_look_is_projected_by_its_seed():
    family = FAMILIES["llava"]
    model, batch = family.build().eval(), family.batch(family.rows(SHAPES))
    whole = Glance(model, 10_000, 0)(batch)
    short, other = (Glance(model, 32, seed)(batch) for seed in (0, 1))
    assert short.shape == (len(SHAPES), 32)
    assert torch.equal(short, Glance(model, 32, 0)(batch))
    assert not torch.allclose(short, other)
    maps = torch.stack([projection(whole.shape[1], 32, seed) for seed in range(500)])
    assert relative(short, whole @ maps[0]) < 1e-6
    inner = (whole @ maps) @ (whole @ maps).mT
    assert torch.allclose(inner.mean(0), whole @ whole.T, atol=0.1)
