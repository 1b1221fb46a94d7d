"""What a step's training starts from, and the folder that it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import Trainer

from adaptinf.data.pool import read_pool
from adaptinf.data.world.build import WorldSizes, build_world
from config import Recipe
from stages.context import Context
from stages.lineage import Lineage
from stages.walk import plan_walk
from stages.work import Silent, Work


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    sizes = WorldSizes(scale=0.01, benchmark_rows=4)
    return build_world(tmp_path_factory.mktemp("world") / "world", 0, sizes)


@pytest.fixture
def context(world, tmp_path):
    def make(train: Mapping[str, object] = MappingProxyType({}), **adapter: object) -> Context:
        recipe = Recipe(
            output_dir=tmp_path / "run",
            tasks=[{"dataset": "llava"}, {"dataset": "mantis"}],
            select={"method": "random", "budget": 4},
            adapter=adapter,
            train={"batch_size": 2, **train},
            evaluate={"benchmarks": ["caption"]},
        )
        return Context(recipe, world)

    return make


def perform(work: Work) -> None:
    work.folder.mkdir(parents=True)
    work.perform(work.folder, Silent())
    (work.folder / "DONE").write_text(json.dumps({"fingerprint": work.fingerprint}))


def test_a_new_adapter_per_task_knows_nothing_of_the_one_before(context) -> None:
    for mode, before in (
        ("continue", [[], ["adapter"]]),
        ("new_per_task", [[], []]),
        ("merge_and_new", [[], ["merged"]]),
    ):
        trains = [step.train for step in plan_walk(context(across_steps=mode))[1:]]
        given = [[n for n in ("adapter", "merged") if n in train.inputs] for train in trains]
        assert given == before


@pytest.mark.parametrize(
    ("adapter", "continues"),
    [
        ({"route": "mixlora", "r": 2, "num_experts": 4}, "1-llava"),
        ({"route": "dora", "placement": "dora-llava", "across_steps": "new_per_task"}, None),
    ],
    ids=["mixlora", "dora"],
)
def test_adapters_of_all_steps_are_kept_with_their_descent(context, adapter, continues) -> None:
    made = context(**adapter)
    with made.model.bare() as base:
        before = {name: value.clone() for name, value in base.state_dict().items()}
    first, second = plan_walk(made)[1:]
    for step in (first, second):
        for work in step.ordered:
            perform(work)
    with made.model.bare() as base:
        after = base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    told = json.loads((second.train.folder / "adapter" / "lineage.json").read_text())
    assert (told["step"], told["continues"], told["rows"]) == ("2-mantis", continues, 4)
    assert (told["route"], told["base"]) == (adapter["route"], "tiny")
    assert told["parent"] == (first.train.fingerprint if continues else None)
    counted = list(made.run.glob("steps/*/evaluate/caption/routes.parquet"))
    assert len(counted) == (2 if adapter["route"] == "mixlora" else 0)
    for step in (first, second):
        with made.model.adapted(Lineage(top=step.train)) as model:
            assert model.active_adapter == "default"
        # On the model until another one is asked for, or something went wrong with it on.
        with made.model.adapted(Lineage(top=step.train)) as again:
            assert again is model
    with pytest.raises(KeyError), made.model.adapted(Lineage(top=second.train)):
        raise KeyError
    with made.model.adapted(Lineage(top=second.train)) as other:
        assert other is not model
    with made.model.bare() as base:
        assert base.state_dict().keys() == before.keys()


def test_deepspeed_has_a_model_that_nobody_had_before_and_nobody_has_after(
    context, monkeypatch
) -> None:
    made, trained = context({"deepspeed": "zero3"}), []

    def train(model: torch.nn.Module, *_: object, **__: object) -> dict[str, float]:
        trained.append(model.get_base_model())
        return {}

    monkeypatch.setattr("adaptinf.training.train_adapter", train)
    monkeypatch.setattr("stages.train.write_training_card", lambda *_: None)
    with made.model.bare() as base:
        before = base
    step = plan_walk(made)[1]
    for work in (step.ingest, step.select):
        perform(work)
    for part in ("checkpoints", "adapter"):
        (step.train.folder / part).mkdir(parents=True)
    step.train.perform(step.train.folder, Silent())
    with made.model.bare() as base:
        assert len({id(model) for model in (before, trained[0], base)}) == 3


def answers(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 13, 17]])).logits


@pytest.mark.parametrize("route", ["lora", "full"])
def test_merged_adapters_carry_what_was_learned_to_a_fresh_one(context, route) -> None:
    made = context(route=route, across_steps="merge_and_new", average="interpolate")
    first, second = plan_walk(made)[1:]
    for step in (first, second):
        for work in step.ordered:
            perform(work)
    told = json.loads((second.train.folder / "adapter" / "lineage.json").read_text())
    assert (told["continues"], told["merged"]) == (None, ["1-llava"])
    assert list(told["held_back_losses"]) == ["0.25", "0.5", "0.75", "1"]
    with made.model.bare() as base:
        plain = answers(base)
    with made.model.adapted(Lineage(top=first.train)) as model:
        after_first = answers(model)
    with made.model.adapted(Lineage((first.train,))) as model:
        torch.testing.assert_close(answers(model), after_first, rtol=1e-4, atol=1e-5)
    with made.model.adapted(Lineage((first.train,), second.train)) as model:
        assert (answers(model) - after_first).abs().max() > 1e-4
    with made.model.bare() as base:
        assert torch.equal(answers(base), plain)


def test_rows_are_grouped_by_the_pools_tokens_and_smaller_passes_are_kept(
    context, monkeypatch
) -> None:
    mixed = plan_walk(context())[1].train
    # A run of a release that did not know the setting goes on.
    assert "group_by_length" not in mixed.settings
    walk = plan_walk(context(train={"group_by_length": True, "batch_size": 4, "epochs": 2}))[1]
    assert walk.train.settings["group_by_length"]
    whole = Trainer.training_step
    tokens: list[int] = []

    def step(self: Trainer, model: Any, inputs: Any, *rest: Any, **named: Any) -> torch.Tensor:
        if len(inputs["labels"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        tokens.append(int(inputs["attention_mask"].sum()))
        return whole(self, model, inputs, *rest, **named)

    monkeypatch.setattr(Trainer, "training_step", step)
    for work in walk.ordered:
        perform(work)
    pool = read_pool(walk.ingest.folder / "pool.parquet")
    selected = pq.read_table(walk.select.folder / "selection.parquet")["uid"].to_pylist()
    known = dict(zip(pool.uids, pool.numbers("n_tokens").tolist(), strict=True))
    longest_first = sorted((known[uid] for uid in selected), reverse=True)
    # A row a pass, four to a step, and one step an epoch: both from the longest to the shortest.
    assert tokens == longest_first * 2
    told = json.loads((walk.train.folder / "micro_batches.json").read_text())
    assert told["changes"] == [{"from_step": 1, "rows": 1}]
    assert sorted(file.name for file in walk.train.folder.iterdir()) == [
        "DONE",
        "adapter",
        "log.jsonl",
        "micro_batches.json",
    ]
