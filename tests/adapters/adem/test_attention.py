"""The attention against the formulas, one token at a time."""

from __future__ import annotations

import math

import pytest
import torch

from adaptinf.adapters.adem.attention import Shared, cross_attention
from tests.adapters.adem.formulas import slowly


def shared(counts: list[int], ratio: float, seed: int) -> Shared:
    generator = torch.Generator().manual_seed(seed)
    filled = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    keys, values = torch.randn(2, *filled.shape, 6, generator=generator) * filled[:, :, None]
    dropped = [math.floor(ratio * n) for n in counts]
    return Shared(keys, values, filled, torch.tensor(dropped), max(dropped))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.34, 0.9])
def test_it_equals_the_formulas_whatever_each_row_has(ratio: float) -> None:
    counts = [10, 0, 3, 7]
    sight = shared(counts, ratio, seed=1)
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(2))
    result = cross_attention(x, sight)
    for row, n in enumerate(counts):
        expected = slowly(x[row], sight.keys[row, :n], sight.values[row, :n], ratio)
        torch.testing.assert_close(result[row], expected, rtol=1e-4, atol=1e-5)
    assert not result[1].any()


def test_dropped_scores_give_no_gradient_and_the_others_do() -> None:
    sight = shared([4], 0.5, seed=3)
    keys = sight.keys.clone().requires_grad_()
    x = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(4))
    sight = Shared(keys, sight.values, sight.filled, sight.dropped, sight.most)
    cross_attention(x, sight).sum().backward()
    scores = (torch.nn.functional.silu(x) @ sight.keys.transpose(1, 2)).flatten()
    lowest = scores.argsort()[:2]
    assert not keys.grad[0, lowest].any()
    assert keys.grad.flatten(0, 1).any(1).sum() == 2
