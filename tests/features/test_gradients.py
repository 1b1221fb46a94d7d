"""Gradients of weights and from losses alone, and what of each a batch is told of."""

from __future__ import annotations

import pytest
import torch

from adaptinf.adapters import attach
from adaptinf.features import FeatureExtractor
from adaptinf.features.factors import Factor
from adaptinf.features.gradients import DIRECTIONS, ZeroOrderGradients
from adaptinf.features.sketch import FactorMap, GradientSketch
from adaptinf.models.parts import text_layers
from adaptinf.models.prompts import prompts_of
from tests.families import FAMILIES, Shape
from tests.features.plain import (
    Projection,
    plain_features,
    plain_gradients,
    plain_losses,
    plain_weight_gradients,
    relative,
)

PROJECTION = Projection(128, 3)
SHAPES = [Shape(6, 4, 0), Shape(5, 7, 1), Shape(9, 2, 2), Shape(4, 6, 1)]


def extractor_of(model, **options):
    return FeatureExtractor(model, 1, PROJECTION.dim, PROJECTION.seed, **options)


def losses_of(model, batch):
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with prompts_of(model, batch["labels"]):
        return plain_losses(model(**inputs).logits, batch["labels"])


def drawn(model):
    """The adapter with no matrix that is zero, so that it has a say."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval()


OPTIONS = {
    "dora": {"r": 4, "alpha": 8},
    "mixlora": {"r": 2, "num_experts": 6},
    "adem": {"down_sample_num": (16, 4), "alpha": 0.5, "beta": 1.0},
}


def routed(family, route):
    return drawn(attach(family.build(), route, **OPTIONS.get(route, {})))


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("dora", "llava"),
        *(("mixlora", name) for name in ("llava", "qwen2_5_vl", "blip2")),
        *(("adem", name) for name in ("llava", "qwen2_5_vl", "gemma3", "smolvlm")),
        *(("full", name) for name in ("llava", "qwen2_5_vl", "gemma3", "blip2")),
    ],
)
def test_weight_gradients_and_grounding_under_adapters_of_other_kinds(route, name):
    """MixLoRA takes a route by each row's own prompt, ADEM sees its images, also blank ones."""
    family = FAMILIES[name]
    model, rows = routed(family, route), family.rows(SHAPES)
    assert extractor_of(model).kind == ("adapter" if route == "dora" else "weights")
    outs = [
        extractor_of(model, gradients="weights")(family.batch(rows, side))
        for side in ("left", "right")
    ]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for i, row in enumerate(rows):
        if name == "blip2" and not row.pictures:
            continue  # the model's own forward pass takes no row without an image
        loss = losses_of(model, family.batch([row]))[0]
        gradient, norm = plain_features(plain_weight_gradients(model, loss, 1), PROJECTION)
        unseen = losses_of(model, family.batch([family.blanked(row)]))[0]
        grounding = float((unseen - loss).exp())
        for out in outs:
            assert relative(out.gradients[i], gradient) < 1e-5
            assert relative(out.gradient_norms[i], norm) < 1e-5
            assert float(out.scores["image_grounding"][i]) == pytest.approx(grounding, rel=1e-5)


def test_a_model_without_adapter_has_weight_gradients_named_as_under_one():
    family = FAMILIES["llava"]
    batch = family.batch(family.rows(SHAPES))
    bare = extractor_of(family.build().eval())
    assert bare.kind == "weights"
    fresh = extractor_of(attach(family.build(), r=4).eval(), gradients="weights")(batch)
    assert relative(bare(batch).gradients, fresh.gradients) < 1e-5


def test_auto_takes_the_adapters_matrices_where_there_are_such(llava, rows, collate):
    auto = FeatureExtractor(llava)
    assert auto.kind == "adapter"
    adapter = FeatureExtractor(llava, gradients="adapter")(collate(rows))
    assert torch.equal(auto(collate(rows)).gradients, adapter.gradients)


@pytest.mark.parametrize("layer", [0, "last"])
def test_without_gradients_all_else_is_as_with_them(llava, rows, collate, layer):
    told = FeatureExtractor(llava, layer, gradients="adapter")(collate(rows))
    extractor = FeatureExtractor(llava, layer, gradients="none")
    bare = extractor(collate(rows))
    assert (extractor.kind, extractor.dim) == ("none", 1)
    assert torch.equal(bare.gradients, torch.zeros(len(rows), 1))
    assert bare.gradient_norms.isnan().all() and bare.scores["grand"].isnan().all()
    torch.testing.assert_close(bare.embeddings, told.embeddings)
    assert torch.equal(bare.n_answer, told.n_answer)
    for name in ("perplexity", "el2n", "entropy", "image_grounding"):
        assert bare.scores[name].isfinite().any()
        torch.testing.assert_close(bare.scores[name], told.scores[name], equal_nan=True)


@pytest.mark.parametrize("tokens", [3, 40])
def test_norms_and_projections_need_no_gradient_to_be_formed(tokens):
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2, tokens, 90, generator=generator)
    narrow = torch.randn(2, tokens, 70, generator=generator)
    factor = Factor("up.W", wide, narrow, thin=False)
    gradient = torch.einsum("btw,btn->bwn", wide.double(), narrow.double())
    norms = gradient.norm(dim=(1, 2))
    torch.testing.assert_close(factor.norms().double(), norms, rtol=1e-5, atol=0)
    part, told = GradientSketch(64, 5).add(factor)
    map_ = FactorMap.draw(90, 70, 64, "5/up.W", thin=False)
    assert map_.wide is not None and map_.narrow is not None
    torch.testing.assert_close(part.double(), map_.to(gradient)(gradient), rtol=1e-5, atol=1e-3)
    assert torch.equal(told, factor.norms())


def test_zero_order_slopes_are_those_of_the_gradient(make_llava, rows, collate):
    model = make_llava().double().eval()
    batch = collate(rows)
    batch["pixel_values"] = batch["pixel_values"].double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    out = FeatureExtractor(model, 1, 64, 3, gradients="zero-order")(batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    layers, sketch = text_layers(model), GradientSketch(64, 3)
    source = ZeroOrderGradients(layers, 1, None, sketch)
    names = [f"{pair.name}.{matrix}" for pair in source._pairs for matrix in "AB"]
    for i, row in enumerate(rows):
        single = collate([row])
        single |= {n: v.double() for n, v in single.items() if n == "pixel_values"}
        gradients = plain_gradients(model, losses_of(model, single)[0], 1)
        expected, squares = torch.zeros(64).double(), 0.0
        for number in range(DIRECTIONS):
            steps = dict(zip(names, source._direction(number), strict=True))
            steps = {n: s.T if n.endswith(".A") else s for n, s in steps.items()}
            slope = sum(float((gradients[n] * steps[n]).sum()) for n in names)
            squares += slope**2 / DIRECTIONS
            parts = [sketch.project(n, steps[n][None].double())[0] for n in names]
            expected += slope * torch.stack(parts).sum(0)
        assert relative(out.gradients[i], expected / expected.norm()) < 1e-3
        assert float(out.gradient_norms[i]) == pytest.approx(squares**0.5, rel=1e-3)
    assert len({tuple(step.flatten().tolist()) for step in source._direction(0)}) == len(names)


def test_weights_are_put_back_after_a_failure(make_llava, rows, collate):
    model = make_llava().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extractor = FeatureExtractor(model, 1, gradients="zero-order")
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = text_layers(model)[2].register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        extractor(collate(rows))
    handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
