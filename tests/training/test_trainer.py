from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from transformers import Trainer

from adaptinf.adapters import attach, learning_rates
from adaptinf.data.collator import Collator
from adaptinf.data.encoder import Encoder
from adaptinf.data.sample import Sample, Turn
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.notice import Interrupted
from adaptinf.routes import Placement
from adaptinf.training import Average, TrainSettings, train_adapter
from adaptinf.training.checkpoints import _digests, last_sealed
from adaptinf.training.trainer import save_adapter

WORDS = ("red", "green", "blue", "white", "one", "two", "three", "four", "five", "six")


@pytest.fixture(scope="module")
def collator() -> Collator:
    return Collator(Encoder(load_processor(ModelSource("tiny")), 128), lambda _: Path())


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [
        Sample(
            uid=f"text:{word}",
            digest=word,
            source_id=word,
            dataset="text",
            licence=None,
            task=None,
            skill=None,
            images=(),
            turns=(Turn("user", f"Say {word}"), Turn("assistant", word)),
        )
        for word in WORDS
    ]


class Killed(Exception):
    pass


def run(
    folder: Path,
    collator: Collator,
    samples: Sequence[Sample],
    kill_after: int | None = None,
    adapter: Mapping[str, Any] = MappingProxyType({}),
    average: Average | None = None,
    ending: type[BaseException] = Killed,
    more: Mapping[str, Any] = MappingProxyType({}),
    source: ModelSource = ModelSource("tiny"),  # noqa: B008, it is frozen
    **settings: object,
) -> int:
    """Train a fresh adapter; returns the rows that were reported."""
    rows = 0

    def advance(more: int) -> None:
        nonlocal rows
        rows += more
        if kill_after is not None and rows >= kill_after:
            raise ending

    folder.mkdir(exist_ok=True)
    options = {"r": 4, "dropout": 0.1, **adapter}
    model = attach(load_model(source), **options, seed=0).train()
    train_adapter(
        model,
        collator,
        samples,
        TrainSettings(**{"learning_rate": 1e-2, "epochs": 3, "batch_size": 4, **settings}),
        folder,
        base="tiny",
        seed=5,
        rates=learning_rates(model, **options),
        average=average,
        advance=advance,
        **more,
    )
    return rows


def digests(folder: Path) -> dict[str, str]:
    names = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "log.jsonl")
    return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}


def test_training_lowers_the_loss_and_logs_every_step(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    assert run(tmp_path / "a", collator, samples) == 9 * 4
    log = [json.loads(line) for line in (tmp_path / "a/log.jsonl").read_text().splitlines()]
    # 10 rows in batches of 4: 3 steps an epoch, 3 epochs.
    assert [entry["step"] for entry in log] == list(range(1, 10))
    assert float(log[-1]["loss"]) < 0.7 * float(log[0]["loss"])


def test_same_seed_gives_the_same_bytes_also_after_a_kill(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    run(tmp_path / "a", collator, samples)
    run(tmp_path / "b", collator, samples)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, kill_after=20)
    assert (tmp_path / "c/checkpoints/checkpoint-3").is_dir()
    # Steps 4 and 5 are lost with the kill, steps 1 to 3 are not done again.
    assert run(tmp_path / "c", collator, samples) == 6 * 4
    assert digests(tmp_path / "c") == digests(tmp_path / "a")


def test_interrupted_it_saves_the_step_in_hand_and_ends_with_the_same_bytes(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    run(tmp_path / "a", collator, samples)
    with pytest.raises(Interrupted):
        run(tmp_path / "c", collator, samples, kill_after=20, ending=Interrupted)
    assert last_sealed(tmp_path / "c/checkpoints", Ranks()).name == "checkpoint-5"
    # No step is done twice.
    assert run(tmp_path / "c", collator, samples) == 4 * 4
    assert digests(tmp_path / "c") == digests(tmp_path / "a")


@pytest.mark.parametrize(
    "adapter",
    [
        {"route": "dora", "placement": (Placement("text"), Placement("connector", r="full"))},
        {"route": "conlora"},
        {"route": "mixlora", "num_experts": 6, "placement": "mixlora-llava"},
        {"route": "adem", "down_sample_num": (16, 4)},
        {"route": "full"},
    ],
    ids=["dora", "conlora", "mixlora", "adem", "full"],
)
def test_every_route_ends_with_the_same_bytes_after_a_kill(
    tmp_path: Path, collator: Collator, samples: list[Sample], adapter: dict[str, Any]
) -> None:
    run(tmp_path / "a", collator, samples, adapter=adapter)
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, adapter=adapter, kill_after=20)
    run(tmp_path / "c", collator, samples, adapter=adapter)
    assert digests(tmp_path / "c") == digests(tmp_path / "a")


@pytest.mark.parametrize("kind", ["ema", "interpolate"])
def test_averaged_weights_end_with_the_same_bytes_after_a_kill(
    tmp_path: Path, collator: Collator, samples: list[Sample], kind: str
) -> None:
    average = Average(kind, decay=0.8, held_back=0.2)
    run(tmp_path / "plain", collator, samples)
    run(tmp_path / "a", collator, samples, average=average)
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, average=average, kill_after=16)
    run(tmp_path / "c", collator, samples, average=average)
    assert digests(tmp_path / "c") == digests(tmp_path / "a")
    name = "adapter/adapter_model.safetensors"
    assert digests(tmp_path / "a")[name] != digests(tmp_path / "plain")[name]


def test_a_parameter_may_have_a_learning_rate_of_its_own(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    # AdamW's first step moves a weight with a clear gradient by its learning rate.
    places = (Placement("text", learning_rate=1e-3), Placement("connector", r="full"))
    model = attach(load_model(ModelSource("tiny")), r=4, dropout=0.0, placement=places).train()
    before = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    settings = TrainSettings(learning_rate=1e-4, batch_size=10, scheduler="constant", warmup=0)
    rates = learning_rates(model, placement=places)
    train_adapter(model, collator, samples, settings, tmp_path, base="tiny", rates=rates)
    after = dict(model.named_parameters())
    steps = {name: (after[name] - p).abs().max().item() for name, p in before.items()}
    assert steps.keys() - rates.keys() == {n for n in steps if "modules_to_save" in n}
    moved = {name: step for name, step in steps.items() if step}
    assert {round(step, 5) for name, step in moved.items() if name in rates} == {1e-3}


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        ({"route": "dora"}, ["Its route is dora.", "python\nfrom peft import PeftModel"]),
        (
            {"route": "mixlora", "num_experts": 6},
            ["route is mixlora", "import adaptinf.adapters.mixlora  # makes PEFT know MIXLORA"],
        ),
    ],
    ids=["dora", "mixlora"],
)
def test_the_card_names_the_route_and_what_to_import(
    tmp_path: Path, adapter: dict[str, Any], told: list[str]
) -> None:
    save_adapter(attach(load_model(ModelSource("tiny")), r=4, **adapter), tmp_path, "tiny")
    card = (tmp_path / "README.md").read_text()
    assert all(phrase in card for phrase in told)


def test_broken_checkpoints_are_not_loaded(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    run(tmp_path / "a", collator, samples)
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, kill_after=32)
    scratch = tmp_path / "c" / "checkpoints"
    assert last_sealed(scratch, Ranks()) == scratch / "checkpoint-6"
    optimiser = scratch / "checkpoint-6" / "optimizer.pt"
    optimiser.write_bytes(optimiser.read_bytes()[:-1])
    assert last_sealed(scratch, Ranks()) == scratch / "checkpoint-3"
    assert not (scratch / "checkpoint-6").exists()
    seal = scratch / "checkpoint-3" / "sealed.json"
    seal.write_text(seal.read_text()[:-9])
    assert last_sealed(scratch, Ranks()) is None
    run(tmp_path / "c", collator, samples)
    assert digests(tmp_path / "c") == digests(tmp_path / "a")


def test_as_many_checkpoints_are_kept_as_asked_for(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    with pytest.raises(Killed):  # at the eighth step, before it is saved
        run(tmp_path, collator, samples, save_steps=1, keep_checkpoints=3, kill_after=32)
    kept = {folder.name for folder in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"checkpoint-5", "checkpoint-6", "checkpoint-7"}


def test_half_written_checkpoints_go(tmp_path: Path) -> None:
    for name in ("checkpoint-2", "checkpoint-10", "checkpoint-9", "checkpoint-9.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"12")
    for name in ("checkpoint-2", "checkpoint-9"):
        (tmp_path / name / "sealed.json").write_text(json.dumps(_digests(tmp_path / name)))
    assert last_sealed(tmp_path, Ranks()) == tmp_path / "checkpoint-9"
    assert {folder.name for folder in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-9"}


def test_a_checkpoint_that_was_replaced_runs_no_code(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    """As hostile as a run folder on a shared disk: a pickle in place of the optimiser's state."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "RAN"),)

    run(tmp_path / "a", collator, samples)
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, kill_after=20)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        file = tmp_path / "c/checkpoints/checkpoint-3" / name
        assert file.is_file()
        file.write_bytes(pickle.dumps(Bomb()))
    assert run(tmp_path / "c", collator, samples) == 9 * 4
    assert digests(tmp_path / "c") == digests(tmp_path / "a")
    assert not (tmp_path / "RAN").exists()


def test_base_weights_do_not_move(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    base = load_model(ModelSource("tiny"))
    before = {name: p.clone() for name, p in base.named_parameters()}
    model = attach(base, r=4, seed=0).train()
    settings = TrainSettings(learning_rate=1e-2, epochs=1, batch_size=4)
    (tmp_path / "a").mkdir()
    train_adapter(model, collator, samples, settings, tmp_path / "a", base="tiny")
    after = dict(model.unload().named_parameters())
    assert all(torch.equal(after[name], p) for name, p in before.items())


def test_gradient_checkpointing_changes_time_and_memory_only(
    tmp_path: Path, collator: Collator, samples: list[Sample]
) -> None:
    run(tmp_path / "a", collator, samples)
    run(tmp_path / "b", collator, samples, gradient_checkpointing=True)
    plain, checked = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in "ab"
    )
    assert [float(e["loss"]) for e in checked] == pytest.approx([float(e["loss"]) for e in plain])


def test_no_rows_is_an_error(tmp_path: Path, collator: Collator) -> None:
    with pytest.raises(UserError, match="no rows were selected"):
        run(tmp_path / "a", collator, [])


@pytest.mark.parametrize(
    ("extra", "told"),
    [({"num_train_epochs": 9}, "set by other keys"), ({"no_such_argument": 1}, "no_such_argument")],
)
def test_extra_arguments_may_not_contradict_the_recipe(
    tmp_path: Path, collator: Collator, samples: list[Sample], extra: dict, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        run(tmp_path / "a", collator, samples, extra=extra)


@pytest.mark.parametrize(
    ("what", "told", "max_grad_norm"),
    [
        ("loss", "the loss", 1.0),
        ("gradient", "the length of the", 1.0),
        ("gradient", "the length of the", 0.0),
    ],
)
def test_what_is_no_number_is_told_with_its_rows_and_kept_nowhere(
    tmp_path: Path,
    collator: Collator,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    told: str,
    max_grad_norm: float,
) -> None:
    calls = 0
    whole = Trainer.training_step

    def spoilt(self: Trainer, model: Any, *rest: Any, **named: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = whole(self, model, *rest, **named)
        if calls == 5 and what == "gradient":
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(float("nan"))
        return loss * float("inf") if calls == 5 and what == "loss" else loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", spoilt)
        with pytest.raises(UserError, match=f"{told}.* of optimiser step 5 is no number") as error:
            run(tmp_path / "c", collator, samples, max_grad_norm=max_grad_norm)
    named = re.findall(r"text:\w+", str(error.value))
    # The second batch of the second epoch: four different rows of ours.
    assert len(set(named)) == 4 and set(named) <= {sample.uid for sample in samples}
    assert str(tmp_path / "c") in str(error.value)
    scratch = tmp_path / "c/checkpoints"
    assert [folder.name for folder in scratch.iterdir()] == ["checkpoint-3"]
    assert not (tmp_path / "c/adapter").exists()
    run(tmp_path / "a", collator, samples, max_grad_norm=max_grad_norm)
    run(tmp_path / "c", collator, samples, max_grad_norm=max_grad_norm)
    assert digests(tmp_path / "c") == digests(tmp_path / "a")
