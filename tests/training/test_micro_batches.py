"""Steps that do not fit the memory: fewer rows in a forward pass, the same rows in a step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, Trainer

from adaptinf.data.sample import Sample, Turn
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.training import Average
from adaptinf.training.checkpoints import last_sealed
from adaptinf.training.micro_batches import Change, MicroBatches, Part
from tests.training.test_trainer import (  # noqa: F401, two are fixtures
    Killed,
    collator,
    digests,
    run,
    samples,
)

PLAIN = {"dropout": 0.0}


@pytest.fixture
def uneven(samples: list[Sample]) -> list[Sample]:  # noqa: F811
    """Rows whose answers are of one to five words."""
    words = [sample.turns[1].text for sample in samples]
    turns = [
        (s.turns[0], Turn("assistant", " ".join([w] * (1 + i % 5))))
        for i, (s, w) in enumerate(zip(samples, words, strict=True))
    ]
    return [replace(sample, turns=turn) for sample, turn in zip(samples, turns, strict=True)]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A device that from a pass on has room for so many rows; gradients have come by then."""
    whole = Trainer.training_step

    def small(rows: int, after: int = 0) -> None:
        passes = 0

        def step(self: Trainer, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            nonlocal passes
            passes += 1
            loss = whole(self, model, inputs, *rest, **named)
            if passes > after and len(inputs["labels"]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return loss

        monkeypatch.setattr(Trainer, "training_step", step)

    yield small


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def changes(folder: Path) -> list[dict[str, int]]:
    return json.loads((folder / "micro_batches.json").read_text())["changes"]


@pytest.mark.parametrize("sums", [True, False], ids=["tokens counted", "means of passes"])
def test_a_step_keeps_its_rows_and_its_loss_in_smaller_passes(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    uneven: list[Sample],
    memory: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    sums: bool,
) -> None:
    if not sums:
        monkeypatch.setattr(
            LlavaForConditionalGeneration, "accepts_loss_kwargs", False, raising=False
        )
    run(tmp_path / "a", collator, uneven, adapter=PLAIN)
    assert not (tmp_path / "a/micro_batches.json").exists()
    told: list[str] = []
    memory(rows=1, after=4)
    given = {"note": told.append}
    # Every step is told once, though the fifth was tried three times.
    assert run(tmp_path / "b", collator, uneven, adapter=PLAIN, more=given) == 9 * 4
    assert changes(tmp_path / "b") == [{"from_step": 5, "rows": 1}]
    assert [text.split(":")[1].split(" from")[0] for text in told] == [
        " 2 rows in a forward pass",
        " 1 row in a forward pass",
    ]
    assert losses(tmp_path / "b")[:4] == losses(tmp_path / "a")[:4]
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), rel=1e-4)
    one, other = (load_file(tmp_path / f"{n}/adapter/adapter_model.safetensors") for n in "ab")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_a_killed_run_makes_the_change_at_the_same_step(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Sample],  # noqa: F811
    memory: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    damaged: bool,
) -> None:
    average = Average("ema", decay=0.8)
    memory(rows=2, after=4)
    run(tmp_path / "a", collator, samples, average=average)
    memory(rows=2, after=4)
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, average=average, kill_after=20)
    # From here on nothing fails: only what was written down can tell.
    monkeypatch.undo()
    scratch = tmp_path / "c/checkpoints"
    newest = last_sealed(scratch, Ranks())
    assert newest == scratch / "checkpoint-4"
    if damaged:
        (newest / "optimizer.pt").write_bytes(b"")
    # Step 4, which the damaged checkpoint was of, is made once more, with all rows at once.
    assert run(tmp_path / "c", collator, samples, average=average) == (6 if damaged else 5) * 4
    assert digests(tmp_path / "c") == digests(tmp_path / "a")
    assert changes(tmp_path / "c") == changes(tmp_path / "a") == [{"from_step": 5, "rows": 2}]


def test_a_row_that_does_not_fit_is_named_with_what_to_do(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Sample],  # noqa: F811
    memory: Callable[..., None],
) -> None:
    memory(rows=0)
    with pytest.raises(UserError, match="one row does not fit") as error:
        run(tmp_path / "a", collator, samples)
    assert str(error.value).partition(":")[0] == "text"
    for way in ("gradient_checkpointing", "data.max_length", "model.quantize", "zero3"):
        assert way in str(error.value)
    assert changes(tmp_path / "a") == [{"from_step": 1, "rows": 1}]


class TwoRanks(Ranks):
    """Another rank that is always where this one is."""

    def meet(self) -> None:
        pass


def test_of_several_ranks_the_next_launch_goes_on_with_fewer_rows(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Sample],  # noqa: F811
    memory: Callable[..., None],
) -> None:
    given = {"ranks": TwoRanks(rank=0, size=2)}
    memory(rows=1, after=7)
    told = "out of memory in optimiser step 8, rank 0.*goes on from step 6, with 1 row"
    with pytest.raises(UserError, match=told):
        run(tmp_path / "a", collator, samples, more=given, save_steps=5)
    assert changes(tmp_path / "a") == [{"from_step": 6, "rows": 1}]
    run(tmp_path / "a", collator, samples, more=given, save_steps=5)
    assert changes(tmp_path / "a") == [{"from_step": 6, "rows": 1}]


def test_weights_that_may_have_changed_are_not_gone_on_with(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Sample],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(tmp_path / "a", collator, samples, adapter=PLAIN)
    whole, steps = torch.optim.AdamW.step, 0

    def spoilt(self: Any, closure: Any = None) -> Any:
        nonlocal steps
        steps += 1
        whole(self)
        if steps == 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spoilt)
        with pytest.raises(UserError, match="the same command goes on from step 4, with 2 rows"):
            run(tmp_path / "b", collator, samples, adapter=PLAIN)
    run(tmp_path / "b", collator, samples, adapter=PLAIN)
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), rel=1e-4)


def test_rows_are_halved_to_what_divides_a_step(tmp_path: Path) -> None:
    plan = MicroBatches(per_step=12, rows=12)
    assert plan.after(0) == Part(12, None)
    plan = plan.halved(4).halved(4).halved(9)
    # 6 and then at once 3 after step 4; after step 9 the half of 3 is 1.
    assert plan.changes == (Change(5, 3), Change(10, 1))
    assert [plan.after(step) for step in (0, 4, 8, 9)] == [
        Part(12, 4),
        Part(3, 9),
        Part(3, 9),
        Part(1, None),
    ]
    assert plan.halved(9) is None
    plan.write(tmp_path, tmp_path / "scratch", rank=1)
    assert MicroBatches.read(tmp_path, 12, 12) == plan
    # Of two ranks each has six rows of a step.
    assert MicroBatches.read(tmp_path, 6, 6).after(4) == Part(3, 9)
    (tmp_path / "micro_batches.json").write_text("{}")
    with pytest.raises(UserError, match="its training then begins anew"):
        MicroBatches.read(tmp_path, 12, 12)
