"""Means of weights, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from adaptinf.training.averages import MovingAverage, interpolate, put_weights, trained_weights
from adaptinf.training.trainer import Average


@pytest.fixture
def model() -> nn.Linear:
    model = nn.Linear(2, 1, dtype=torch.bfloat16)
    model.bias.requires_grad_(False)
    put_weights(model, {"weight": torch.tensor([[0.0, 4.0]])})
    return model


def set_to(model: nn.Linear, *values: float) -> None:
    put_weights(model, {"weight": torch.tensor([values])})


def test_a_moving_average_begins_with_the_weights_before(model: nn.Linear) -> None:
    mean = MovingAverage(model, 0.75)
    assert list(mean.mean) == ["weight"]
    for values in ((4.0, 4.0), (8.0, 0.0)):
        set_to(model, *values)
        mean.on_step_end(None, None, None)
    # 0, 1, then 0.75 + 2; 4, 4, then 3.
    assert mean.mean["weight"].tolist() == [[2.75, 3.0]]
    assert mean.mean["weight"].dtype == torch.float32


def test_a_moving_average_goes_on_from_a_checkpoint(model: nn.Linear, tmp_path) -> None:
    mean = MovingAverage(model, 0.75)
    set_to(model, 1.0, 1.0)
    mean.on_step_end(None, None, None)
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    state = SimpleNamespace(is_world_process_zero=True, global_step=1)
    mean.on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    other = MovingAverage(model, 0.75)
    other.resume(checkpoint)
    assert torch.equal(other.mean["weight"], mean.mean["weight"])


def test_the_share_of_the_lowest_loss_is_kept(model: nn.Linear) -> None:
    before = trained_weights(model)
    set_to(model, 8.0, 0.0)
    losses = interpolate(model, before, lambda: abs(float(model.weight[0, 0]) - 5.0))
    # At 2, 4, 6 and 8: the second and third are as good, and the second is nearer to the start.
    assert losses == {"0.25": 3.0, "0.5": 1.0, "0.75": 1.0, "1": 3.0}
    assert model.weight.tolist() == [[4.0, 2.0]]


def test_held_back_rows_are_not_trained_on() -> None:
    rows = list(range(20))
    trained, held = Average("interpolate", held_back=0.2).divided(rows, seed=3)
    assert len(held) == 4
    assert sorted([*trained, *held]) == rows
    assert Average("interpolate", held_back=0.2).divided(rows, seed=3)[1] == held
    assert Average("interpolate", held_back=0.2).divided(rows, seed=4)[1] != held
    assert Average("ema").divided(rows, seed=3)[0] == rows
