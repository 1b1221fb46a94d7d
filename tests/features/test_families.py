"""The feature pass on every family of models, against its own plain forward pass and autograd."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adaptinf.features import FeatureExtractor
from adaptinf.models.parts import text_layers
from tests.families import FAMILIES, Family, Row, Shape, without_images
from tests.families.adapter import adapted
from tests.families.blip import BLIP2
from tests.features.plain import (
    Projection,
    plain_features,
    plain_gradients,
    plain_losses,
    plain_scores,
    plain_weight_gradients,
    relative,
)

LAYER = 1
PROJECTION = Projection(256, 7)
SHAPES = [Shape(6, 4, 0), Shape(5, 7, 1), Shape(9, 2, 2), Shape(17, 3, 0), Shape(4, 6, 1)]


@dataclass(frozen=True)
class Case:
    """A family's model with an adapter, rows for it, and the slow way of looking at a row."""

    family: Family
    model: PeftModel
    rows: list[Row]

    def extractor(self, **options) -> FeatureExtractor:
        return FeatureExtractor(self.model, LAYER, PROJECTION.dim, PROJECTION.seed, **options)

    def logits(self, row: Row) -> Tensor:
        batch = self.family.batch([row])
        del batch["labels"]
        return self.family.logits(self.model.get_base_model(), batch)

    def loss(self, row: Row) -> Tensor:
        return plain_losses(self.logits(row), row.labels[None])[0]

    def features(self, row: Row) -> tuple[Tensor, Tensor]:
        return plain_features(plain_gradients(self.model, self.loss(row), LAYER), PROJECTION)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request):
    family = FAMILIES[request.param]
    return Case(family, adapted(family), family.rows(SHAPES))


@pytest.fixture(scope="module")
def mixed(case):
    """Features of all rows in one batch, padded on either side."""
    extractor = case.extractor()
    return [extractor(case.family.batch(case.rows, side)) for side in ("left", "right")]


def test_gradients_equal_autograd_on_batches_of_one(case, mixed):
    for i, row in enumerate(case.rows):
        gradient, norm = case.features(row)
        for out in mixed:
            assert relative(out.gradients[i], gradient) < 1e-5
            assert relative(out.gradient_norms[i], norm) < 1e-5


def test_weight_gradients_equal_autograd_on_batches_of_one(case):
    for parameter in case.model.parameters():
        parameter.requires_grad_(True)
    extractor = case.extractor(gradients="weights", grounding=None)
    outs = [extractor(case.family.batch(case.rows, side)) for side in ("left", "right")]
    for i, row in enumerate(case.rows):
        gradients = plain_weight_gradients(case.model, case.loss(row), LAYER)
        gradient, norm = plain_features(gradients, PROJECTION)
        for out in outs:
            assert relative(out.gradients[i], gradient) < 1e-5
            assert relative(out.gradient_norms[i], norm) < 1e-5


def test_scores_equal_their_plain_definitions(case, mixed):
    for i, row in enumerate(case.rows):
        with torch.no_grad():
            seen, unseen = case.loss(row), case.loss(case.family.blanked(row))
            expected = plain_scores(case.logits(row)[0], row.labels)
        expected["image_grounding"] = (unseen - seen).exp()
        for out in mixed:
            for name, value in expected.items():
                assert float(out.scores[name][i]) == pytest.approx(float(value), rel=1e-5), name
        # The images are looked at, or all of this would hold of a model that does not see them.
        assert (abs(float(unseen - seen)) > 1e-3) == bool(row.pictures)


def test_grounding_without_image_tokens_equals_the_text_alone(case):
    extractor = case.extractor(grounding="drop")
    for side in ("left", "right"):
        out = extractor(case.family.batch(case.rows, side)).scores["image_grounding"]
        for i, row in enumerate(case.rows):
            with torch.no_grad():
                expected = (case.loss(without_images(row)) - case.loss(row)).exp()
            assert float(out[i]) == pytest.approx(float(expected), rel=1e-5)


def test_embeddings_are_the_states_that_the_logits_come_from(case, mixed):
    heard = []
    head = case.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, args, output: heard.append(args[0][0]))
    for i, row in enumerate(case.rows):
        with torch.no_grad():
            case.logits(row)
        answered = row.labels[1:] != -100
        for out in mixed:
            assert relative(out.embeddings[i], heard[-1][:-1][answered].mean(0)) < 1e-5
    handle.remove()


def test_rows_without_image_are_not_run_a_second_time(case):
    seen = []
    layer = text_layers(case.model)[0]
    handle = layer.register_forward_hook(lambda _, args, output: seen.append(len(args[0])))
    for options in ({}, {"grounding": "drop"}, {"grounding": None}):
        case.extractor(**options)(case.family.batch(case.rows))
    handle.remove()
    assert seen[:1] + seen[-3:] == [5, 5, 3, 5]
    # BLIP-2's two rows with one image both begin with it, and that beginning is run for both.
    blank = [1, 1, 2] if case.family is BLIP2 else [3]
    assert seen[1:-3] == blank


def test_batches_of_text_alone_and_of_images_alone(case, mixed):
    extractor = case.extractor()
    for places in ([0, 3], [1, 2, 4]):
        out = extractor(case.family.batch([case.rows[i] for i in places]))
        for place, i in enumerate(places):
            assert relative(out.gradients[place], mixed[1].gradients[i]) < 1e-5
            for name, column in out.scores.items():
                expected = float(mixed[1].scores[name][i])
                assert float(column[place]) == pytest.approx(expected, rel=1e-5), name


def test_half_precision_features_point_where_autograd_does(case):
    model = adapted(case.family).to(torch.bfloat16)
    brief = Case(case.family, model, case.rows)
    out = brief.extractor()(case.family.batch(case.rows))
    for i, row in enumerate(case.rows):
        gradient, _ = brief.features(row)
        assert float(out.gradients[i].double() @ gradient) > 0.999
