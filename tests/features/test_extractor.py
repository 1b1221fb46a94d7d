from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adaptinf.errors import UserError
from adaptinf.features import FeatureExtractor
from adaptinf.models.parts import text_layers
from tests.features.plain import (
    Projection,
    plain_features,
    plain_gradients,
    plain_losses,
    plain_mean_of_exp,
    plain_scores,
    relative,
)

DIM = 256
SEED = 7


PROJECTION = Projection(DIM, SEED)


def losses_of(model, batch):
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return plain_losses(model.eval()(**inputs).logits, batch["labels"])


def features_of(model, batch, layer):
    gradients = plain_gradients(model, losses_of(model, batch).sum(), layer)
    return plain_features(gradients, PROJECTION)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_batched_gradients_equal_autograd_on_batches_of_one(llava, rows, collate, side, layer):
    out = FeatureExtractor(llava, layer, DIM, SEED)(collate(rows, side))
    assert out.gradients.shape == (len(rows), DIM) and out.gradients.dtype == torch.float32
    assert out.gradient_norms.dtype == torch.float32
    for i, row in enumerate(rows):
        gradient, norm = features_of(llava, collate([row]), layer)
        assert relative(out.gradients[i], gradient) < 1e-5
        assert relative(out.gradient_norms[i], norm) < 1e-5
        assert relative(out.scores["grand"][i], norm) < 1e-5


def test_gradients_of_dora_matrices_equal_autograd(make_llava, rows, collate):
    model = make_llava(use_dora=True)
    out = FeatureExtractor(model, 1, DIM, SEED)(collate(rows))
    for i, row in enumerate(rows):
        gradient, norm = features_of(model, collate([row]), 1)
        assert relative(out.gradients[i], gradient) < 1e-5
        assert relative(out.gradient_norms[i], norm) < 1e-5


def test_scores_and_embeddings_equal_their_plain_definitions(llava, rows, collate):
    out = FeatureExtractor(llava)(collate(rows, "left"))
    llava.eval()
    for i, row in enumerate(rows):
        batch = collate([row])
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with torch.no_grad():
            plain = llava(**inputs, output_hidden_states=True)
            blank = {**batch}
            if "pixel_values" in blank:
                blank["pixel_values"] = torch.zeros_like(blank["pixel_values"])
            drop = (losses_of(llava, blank) - losses_of(llava, batch)).exp()
        answered = batch["labels"][0, 1:] != -100
        expected = {
            **plain_scores(plain.logits[0], batch["labels"][0]),
            "image_grounding": drop[0],
        }
        for name, value in expected.items():
            assert out.scores[name].dtype == torch.float64
            assert float(out.scores[name][i]) == pytest.approx(float(value), rel=1e-5), name
        states = plain.hidden_states[-1][0, :-1][answered]
        assert relative(out.embeddings[i], states.mean(0)) < 1e-5
        assert int(out.n_answer[i]) == int(answered.sum())


@pytest.mark.parametrize("side", ["left", "right"])
def test_perplexity_can_be_the_mean_of_exp_over_tokens(llava, rows, collate, side):
    batch = collate(rows, side)
    usual = FeatureExtractor(llava, dim=DIM)(batch)
    found = FeatureExtractor(llava, dim=DIM, perplexity="mean-exp")(batch)
    llava.eval()
    for i, row in enumerate(rows):
        alone = collate([row])
        inputs = {name: value for name, value in alone.items() if name != "labels"}
        with torch.no_grad():
            logits = llava(**inputs).logits
        expected = plain_mean_of_exp(logits[0], alone["labels"][0])
        assert float(found.scores["perplexity"][i]) == pytest.approx(expected, rel=1e-5)
        # By Jensen's inequality the larger one, but for an answer of one token.
        more = float(found.scores["perplexity"][i] / usual.scores["perplexity"][i])
        assert more == pytest.approx(1, rel=1e-6) if found.n_answer[i] == 1 else more > 1.01
    for name in ("el2n", "entropy", "grand", "image_grounding"):
        assert torch.equal(found.scores[name], usual.scores[name])
    assert torch.equal(found.gradients, usual.gradients)


def test_the_mean_of_exp_holds_losses_beyond_float32(make_llava, rows, collate):
    """With logits 30 times as large losses reach hundreds; exp of 89 leaves float32."""
    model = make_llava()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(30)
    extractor = FeatureExtractor(model, dim=DIM, perplexity="mean-exp")
    perplexity = extractor(collate(rows)).scores["perplexity"]
    assert perplexity.isfinite().all()
    assert perplexity.max() > torch.finfo(torch.float32).max


def test_text_only_rows_are_grounded_at_exactly_one_and_others_are_not(llava, rows, collate):
    grounding = FeatureExtractor(llava)(collate(rows)).scores["image_grounding"]
    has_image = torch.tensor([len(row.pixels) > 0 for row in rows])
    assert torch.equal(grounding[~has_image], torch.ones(2, dtype=torch.float64))
    assert ((grounding[has_image] - 1).abs() > 1e-3).all()


def test_a_text_only_batch_costs_one_forward_pass(llava, rows, collate):
    calls = []
    handle = text_layers(llava)[0].register_forward_hook(lambda *_: calls.append(1))
    extractor = FeatureExtractor(llava)
    extractor(collate([rows[0], rows[3]]))
    text_only = len(calls)
    extractor(collate(rows))
    handle.remove()
    assert (text_only, len(calls) - text_only) == (1, 2)


def test_a_row_does_not_depend_on_its_place_or_company(llava, rows, collate):
    extractor = FeatureExtractor(llava, dim=DIM)
    together = extractor(collate(rows))
    order = [3, 1, 4, 0, 2]
    shuffled = extractor(collate([rows[i] for i in order], "left"))
    alone = [extractor(collate([row])) for row in rows]
    for place, i in enumerate(order):
        for other, at in ((shuffled, place), (alone[i], 0)):
            assert relative(other.gradients[at], together.gradients[i]) < 1e-5
            assert relative(other.embeddings[at], together.embeddings[i]) < 1e-5
            for name, column in together.scores.items():
                assert float(other.scores[name][at]) == pytest.approx(float(column[i]), rel=1e-5)


def test_rows_without_answer_give_nan_scores_and_zero_vectors(llava, rows, collate, make_row):
    silent = make_row(torch.Generator().manual_seed(2), 5, 0, 1)
    extractor = FeatureExtractor(llava)
    alone, mixed = extractor(collate([silent])), extractor(collate([rows[1], silent]))
    for out, i in ((alone, 0), (mixed, 1)):
        assert all(column[i].isnan() for column in out.scores.values())
        assert not out.gradients[i].any() and not out.embeddings[i].any()
        assert out.gradient_norms[i] == 0 and out.n_answer[i] == 0
    assert all(column[0].isfinite() for column in mixed.scores.values())


def test_dropout_is_off_and_the_model_is_left_as_it_was(make_llava, rows, collate):
    model = make_llava(dropout=0.5)
    text_layers(model)[1].eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    assert any(flags.values()) and not all(flags.values()) and modes[""]
    extractor = FeatureExtractor(model)
    first, second = extractor(collate(rows)), extractor(collate(rows))
    assert torch.equal(first.gradients, second.gradients)
    assert all(torch.equal(first.scores[name], second.scores[name]) for name in first.scores)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert flags == {name: p.requires_grad for name, p in model.named_parameters()}
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in text_layers(model).modules())


def test_flags_come_back_after_a_failure(make_llava, rows, collate):
    model = make_llava()
    batch = collate(rows)
    batch["pixel_values"] = batch["pixel_values"][:1]
    with pytest.raises(ValueError, match="tokens"):
        FeatureExtractor(model)(batch)
    assert model.training and any(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in text_layers(model).modules())


def test_no_graph_is_built_below_the_chosen_layer(llava, rows, collate):
    seen = {0: [], 1: [], 2: []}

    def note(number):
        return lambda _, args, output: seen[number].append(output.requires_grad)

    handles = [layer.register_forward_hook(note(i)) for i, layer in enumerate(text_layers(llava))]
    FeatureExtractor(llava, 1)(collate([rows[0]]))
    for handle in handles:
        handle.remove()
    assert seen == {0: [False], 1: [True], 2: [True]}


def test_half_precision_models_give_nearly_the_same(make_llava, rows, collate):
    batch = collate(rows)
    single = FeatureExtractor(make_llava(), dim=DIM)(batch)
    brief = FeatureExtractor(make_llava().to(torch.bfloat16), dim=DIM)(batch)
    cosine = functional.cosine_similarity(single.gradients, brief.gradients)
    assert (cosine > 0.998).all() and brief.gradients.dtype == torch.float32


def test_a_layer_without_adapter_is_named(make_llava):
    with pytest.raises(UserError, match="layer 0 of the text model has no active LoRA modules"):
        FeatureExtractor(make_llava().unload(), 0, gradients="adapter")
    merged = make_llava()
    merged.merge_adapter()
    for kind in ("adapter", "zero-order"):
        with pytest.raises(UserError, match="layer 2 of the text model has no active LoRA modules"):
            FeatureExtractor(merged, "last", gradients=kind)
    with pytest.raises(UserError, match="no such layer"):
        FeatureExtractor(make_llava(), 3)
    with pytest.raises(UserError, match=r"no such gradients \(seen: 'wieghts'\)"):
        FeatureExtractor(make_llava(), gradients="wieghts")


def test_grounding_can_be_left_out_but_not_misspelt(llava, rows, collate):
    scores = FeatureExtractor(llava, grounding=None)(collate(rows)).scores
    assert scores.pop("image_grounding").isnan().all()
    assert all(column.isfinite().all() for column in scores.values())
    with pytest.raises(UserError, match=r"taking images away \(seen: 'black'\)"):
        FeatureExtractor(llava, grounding="black")
    with pytest.raises(UserError, match=r"no such perplexity \(seen: 'mean'\)"):
        FeatureExtractor(llava, perplexity="mean")
