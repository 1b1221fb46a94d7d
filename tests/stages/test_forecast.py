"""Counting and extrapolating: against the whole model, which is small enough to be run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaptinf.data.world.build import WorldSizes, build_world
from adaptinf.features.extractor import FeatureExtractor
from adaptinf.features.glance import Glance
from adaptinf.models.loading import ModelSource, load_config
from config import Featurize, Recipe
from stages import forecast as module
from stages.context import Context
from stages.cutting import build_model, cut_config
from stages.forecast import Cost, clustering_flops, curve_flops, forecast, model_shape
from stages.look import look_at

TINY = ModelSource("tiny")


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Context:
    folder = tmp_path_factory.mktemp("forecast")
    world = build_world(folder / "world", 0, WorldSizes(scale=0.01, benchmark_rows=4))
    recipe = Recipe(
        output_dir=folder / "run",
        tasks=[{"dataset": "mantis"}],
        train={"batch_size": 6},
        evaluate={"batch_size": 3},
    )
    return Context(recipe, world, folder / "scratch")


@pytest.fixture(scope="module")
def samples(context):
    pool = look_at(context, "mantis").pool
    return [pool.sample(i) for i in range(len(pool))]


@pytest.fixture(scope="module")
def passes(context, samples):
    return forecast(context, samples)


@pytest.fixture(scope="module")
def whole(context):
    config = load_config(TINY)
    return build_model(TINY, config, context.recipe, "cpu")


def flops(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_the_shape_is_that_of_the_shipped_model(context):
    shape = model_shape(TINY, context.recipe)
    manifest = json.loads((Path(TINY.path) / "manifest.json").read_text())
    assert shape.parameters == manifest["parameters"]
    # Rank 16 on four 128x128 and three 128x256 matrices in each of four layers.
    assert shape.adapter_parameters == 4 * 16 * (4 * (128 + 128) + 3 * (128 + 256))
    assert (shape.text_layers, shape.vision_layers, shape.hidden) == (4, 3, 128)
    assert shape.bytes_per_parameter == 4


def test_training_costs_what_the_whole_model_costs(context, samples, passes, whole):
    batch = module._encoded(context, samples[:6])
    tokens = int(batch["attention_mask"].sum())
    counted = flops(lambda: whole.train()(**batch).loss.backward())
    assert passes.train.flops * tokens == pytest.approx(counted, rel=1e-6)


@pytest.mark.parametrize("layer", ["first", 2, "last"])
def test_the_feature_pass_costs_what_that_of_the_whole_model_costs(context, samples, whole, layer):
    """With the beginnings that rows share already there, as from the second batch on."""
    featurize = context.recipe.featurize.model_copy(update={"layer": layer})
    recipe = context.recipe.model_copy(update={"featurize": featurize})
    passes = forecast(Context(recipe, context.data_root, context.scratch), samples)
    batch = module._encoded(context, samples)
    extractor = FeatureExtractor(whole, layer, 1024)
    with extractor.model_unchanged():
        extractor(batch)
        counted = flops(lambda: extractor(batch))
    tokens = batch["input_ids"].numel()
    assert passes.featurize.flops * tokens == pytest.approx(counted, rel=1e-6)


def test_the_first_look_costs_what_that_of_the_whole_model_costs(context, samples, passes, whole):
    batch = module._encoded(context, samples)
    counted = flops(lambda: Glance(whole.get_base_model(), 1024, 0)(batch))
    tokens = batch["input_ids"].numel()
    assert passes.glance.flops * tokens == pytest.approx(counted, rel=0.02)


def test_a_feature_batch_holds_as_many_rows_as_the_recipe_says(context, samples):
    row = module._encoded(context, samples)["input_ids"].shape[1]
    recipe = context.recipe.model_copy(update={"featurize": Featurize(batch_tokens=3 * row)})
    fewer = Context(recipe, context.data_root, context.scratch)
    assert 3 <= len(module._scored_batch(fewer, samples)["input_ids"]) <= 4


def test_generation_costs_what_the_whole_model_costs(context, passes, whole):
    prompts = module._prompts(context, 3)
    settings = {"min_new_tokens": 3, "max_new_tokens": 3, "do_sample": False}
    counted = flops(lambda: whole.eval().generate(**prompts, **settings))
    assert (passes.prompt + passes.token * 2).flops == pytest.approx(counted, rel=1e-6)
    assert passes.batch_rows == 3
    assert passes.prompt_tokens == prompts["input_ids"].shape[1]


def test_every_time_is_measured(passes):
    seconds = [passes.encode, passes.clustering]
    seconds += [
        cost.seconds for cost in (passes.glance, passes.featurize, passes.train, passes.prompt)
    ]
    assert min(seconds) > 0


def test_a_large_model_is_timed_on_fewer_rows(context, samples, monkeypatch):
    monkeypatch.setattr(module, "_TRIAL_FLOPS_CPU", 1.0)
    monkeypatch.setattr(module, "_TRIAL_FLOPS_ACCELERATOR", 1.0)
    assert module._affordable(context, load_config(TINY), samples) == 1


def test_without_a_feature_pass_none_is_timed(context, samples, monkeypatch):
    monkeypatch.setattr(module, "extractor_of", None)
    monkeypatch.setattr(module, "Glance", None)
    assert forecast(context, samples, scored=False).featurize == Cost()


def test_a_run_without_tasks_is_timed_on_its_questions(context):
    told = forecast(context, [], scored=False)
    assert told.train == told.featurize == told.glance == Cost()
    assert told.prompt.flops > told.token.flops > 0


def test_cutting_leaves_the_configuration_alone():
    config = load_config(TINY)
    cut = cut_config(config, 2, 1)
    assert cut.get_text_config().num_hidden_layers == 2
    assert cut.vision_config.num_hidden_layers == 1
    assert config.get_text_config().num_hidden_layers == 4
    assert config.vision_config.num_hidden_layers == 3


def test_a_difference_of_costs_is_never_negative():
    assert Cost(5, 1.0).beyond(Cost(3, 2.0)) == Cost(2, 0.0)
    assert Cost(5, 1.0) * 2 + Cost(1, 1.0) == Cost(11, 3.0)


def test_clustering_counts_the_sample_and_the_assignment():
    # 10,000 rows, 4 clusters: 25 rounds over 1,024 of them, then all once, in 8 dimensions.
    assert clustering_flops(10_000, 8, 4) == 2 * 8 * 4 * (25 * 1024 + 10_000)
    assert clustering_flops(100, 8, 4) == 2 * 8 * 4 * (25 * 100 + 100)


def test_a_rule_for_the_number_of_clusters_tries_many():
    # The square root of 64 is 8, and 8 * 2^(j/2) for j = -8 .. 2 from 2 on.
    tried = 2 + 3 + 4 + 6 + 8 + 11 + 16
    assert curve_flops(1000, 8, 64) == 2 * 8 * tried * 26 * 1000
    assert curve_flops(10**9, 8, 64) == 2 * 8 * tried * 26 * 20_000


def test_nothing_is_drawn_from_the_global_seed(context, samples):
    torch.manual_seed(5)
    forecast(context, samples[:2], scored=False)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_no_image_is_kept_beside_the_run(context):
    assert not Path(context.run).exists()
