"""The layer against the formulas of the paper, worked out row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from adaptinf.adapters.mixlora import MixLoraConfig
from adaptinf.adapters.mixlora.mixture import Mixture
from adaptinf.adapters.mixlora.routing import Route
from adaptinf.errors import UserError

ROUTINGS = ("input", "input_lora_a_param")


def drawn(inputs: int = 12, outputs: int = 10, seed: int = 0, **options: Any) -> Mixture:
    """A mixture in float64 whose B factors are not zero."""
    torch.manual_seed(seed)
    mixture = Mixture(inputs, outputs, MixLoraConfig(**{"dropout": 0.0} | options)).double()
    torch.nn.init.normal_(mixture.pool_b)
    return mixture


def reference(mixture: Mixture, x: Tensor, prompt: Tensor) -> Tensor:
    """Section 3 of the paper for each row alone, through the product of the factors [out, in].

    Gates are p / stop_gradient(p), which are 1 in value.
    """
    updates = []
    for row, mask in zip(x, prompt, strict=True):
        # The layer's routers work in float32.
        h = row[mask].mean(0).detach().float()
        logits = mixture.router_a.float() @ h
        chosen_a = logits.sort(descending=True).indices[: mixture.rank]
        p_a = logits.softmax(0)
        p_b = (mixture.router_b.float() @ h).softmax(0)
        if mixture.router_ab is not None:
            for k, factor in enumerate(chosen_a):
                scores = mixture.router_ab[k].float() @ mixture.pool_a[factor].detach().float()
                p_b = p_b + mixture.conditional_weight * scores.softmax(0)
        chosen_b = p_b.sort(descending=True).indices[: mixture.rank]
        product = torch.zeros(mixture.pool_b.shape[1], x.shape[2], dtype=x.dtype)
        for i, j in zip(chosen_a, chosen_b, strict=True):
            gate = p_a[i] / p_a[i].detach() * p_b[j] / p_b[j].detach()
            product = product + gate * torch.outer(mixture.pool_b[j], mixture.pool_a[i])
        updates.append(mixture.scaling * row @ product.T)
    return torch.stack(updates)


def inputs(rows: int, tokens: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, tokens, width, generator=generator, dtype=torch.float64)
    prompt = torch.rand(rows, tokens, generator=generator) < 0.6
    prompt[:, 0] = True
    return x, prompt


@pytest.mark.parametrize("routing", ROUTINGS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_update_is_that_of_the_formulas(routing: str, data: st.DataObject) -> None:
    experts = data.draw(st.integers(1, 8))
    mixture = drawn(
        inputs=data.draw(st.integers(2, 9)),
        outputs=data.draw(st.integers(1, 9)),
        seed=data.draw(st.integers(0, 99)),
        routing=routing,
        num_experts=experts,
        rank=data.draw(st.integers(1, experts)),
        conditional_weight=data.draw(st.sampled_from([0.5, 1.0, 3.0])),
    )
    x, prompt = inputs(
        data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)), mixture.pool_a.shape[1]
    )
    expected = reference(mixture, x, prompt)
    torch.testing.assert_close(mixture(x, Route(prompt)), expected, rtol=1e-9, atol=1e-9)


def test_update_worked_out_by_hand() -> None:
    """Rank 2 of 3. Prompt e0 takes A 2, 0 and B 1, 2; prompt e1 takes A 1, 2 and B 0, 1."""
    mixture = drawn(2, 1, num_experts=3, rank=2, alpha=6.0)
    with torch.no_grad():
        mixture.router_a.copy_(torch.tensor([[2.0, 0.0], [1.0, 9.0], [3.0, 4.0]]))
        mixture.router_b.copy_(torch.tensor([[0.0, 3.0], [8.0, 2.0], [7.0, 1.0]]))
        mixture.pool_a.copy_(torch.tensor([[1.0, 0.0], [10.0, 0.0], [100.0, 1.0]]))
        mixture.pool_b.copy_(torch.tensor([[1.0], [2.0], [5.0]]))
    # The second token is no part of the prompt.
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    prompt = torch.tensor([[True, False], [True, False]])
    update = mixture(x, Route(prompt))
    # Scaling 6 / 2 = 3. Row 0: 3 * (2 <x, a2> + 5 <x, a0>); row 1: 3 * (1 <x, a1> + 2 <x, a2>).
    expected = [[[3 * (200 + 5)], [3 * 2.0]], [[3 * 2.0], [3 * (10 + 200)]]]
    assert update.tolist() == expected


@pytest.mark.parametrize("routing", ROUTINGS)
def test_gradients_are_those_of_the_straight_through_formulas(routing: str) -> None:
    ours, slow = (drawn(routing=routing, num_experts=5, rank=2) for _ in range(2))
    x, prompt = inputs(3, 4, 12)
    target = torch.randn(3, 4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    (ours(mine, Route(prompt)) * target).sum().backward()
    (reference(slow, other, prompt) * target).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad)
    for (name, p), (_, q) in zip(ours.named_parameters(), slow.named_parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5, msg=name)
        assert p.grad.abs().max() > 1e-4, name


@pytest.mark.parametrize("routing", ROUTINGS)
def test_frozen_routers_are_no_parameters_and_all_else_trains_the_same(routing: str) -> None:
    learned, frozen = (drawn(routing=routing, routers=kind) for kind in ("learned", "frozen"))
    assert [name for name, _ in frozen.named_parameters()] == ["pool_a", "pool_b"]
    assert learned.state_dict().keys() == frozen.state_dict().keys()
    x, prompt = inputs(3, 4, 12)
    outputs = [mixture(x, Route(prompt)) for mixture in (learned, frozen)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for name in ("pool_a", "pool_b"):
        assert torch.equal(getattr(learned, name).grad, getattr(frozen, name).grad)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_routers_that_are_very_sure_still_give_finite_gradients(routing: str) -> None:
    """Probabilities of the second best underflow to 0 here."""
    mixture = drawn(routing=routing)
    with torch.no_grad():
        for name, parameter in mixture.named_parameters():
            parameter.mul_(1e4 if "router" in name else 1.0)
    x, prompt = inputs(3, 4, 12)
    mixture(x, Route(prompt)).sum().backward()
    assert all(p.grad.isfinite().all() for p in mixture.parameters())


class Sizes(TorchDispatchMode):
    """The largest tensor that any operation inside makes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
        self.largest = max([self.largest, *(t.numel() for t in tensors)])
        return result


@pytest.mark.parametrize("routing", ROUTINGS)
def test_the_product_of_the_factors_is_never_formed(routing: str) -> None:
    mixture = drawn(64, 300, routing=routing)
    x, prompt = inputs(3, 5, 64)
    with Sizes() as sizes:
        mixture(x.requires_grad_(), Route(prompt)).sum().backward()
    # The pool of B is the largest thing there is.
    assert sizes.largest == 16 * 300
    with Sizes() as sizes:
        reference(mixture, x, prompt)
    assert sizes.largest == 64 * 300


def test_fresh_factors_are_drawn_as_in_the_authors_code() -> None:
    torch.manual_seed(0)
    mixture = Mixture(400, 30, MixLoraConfig(routing="input_lora_a_param", num_experts=32))
    assert not mixture.pool_b.any()
    for name, bound in (("pool_a", 1 / 20), ("router_a", 1 / 20), ("router_ab", 1 / 40)):
        largest = getattr(mixture, name).abs().max().item()
        assert 0.99 * bound < largest <= bound, name
    assert mixture.scaling == 2 * 32 / 4


def test_dropout_only_while_training() -> None:
    mixture = drawn(dropout=0.5)
    x, prompt = inputs(2, 4, 12)
    trained = mixture(x, Route(prompt))
    mixture.eval()
    assert torch.equal(mixture(x, Route(prompt)), mixture(x, Route(prompt)))
    assert not torch.equal(trained, mixture(x, Route(prompt)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"routing": "inptu"}, "did you mean 'input'"),
        ({"routers": "free"}, "unknown routers"),
        ({"rank": 17}, "adapter.rank.*1 to 16"),
        ({"rank": 0}, "adapter.rank"),
        ({"conditional_weight": 0.0}, "conditional_weight"),
    ],
)
def test_mistakes_in_the_settings_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MixLoraConfig(**options)
