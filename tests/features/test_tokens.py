from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from adaptinf.features.tokens import AnswerTokens, token_scores

CHUNKS = [1, 7, 40, 41, 100]


def problem(dtype, bias, scale=1.0):
    generator = torch.Generator().manual_seed(3)
    head = nn.Linear(12, 41, bias=bias, dtype=dtype).requires_grad_(False)
    head.weight.copy_(torch.randn(41, 12, generator=generator, dtype=dtype) * scale)
    states = torch.randn(9, 12, generator=generator, dtype=dtype)
    targets = torch.randint(0, 41, (9,), generator=generator)
    targets[:2] = torch.tensor([0, 40])
    return states, head, targets


def dense(states, head, targets, cap=None):
    """The same scores with all logits and one-hot targets at once, in float64."""
    logits = functional.linear(states.double(), head.weight.double())
    if head.bias is not None:
        logits = logits + head.bias.double()
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    q = logits.softmax(1)
    hot = functional.one_hot(targets, q.shape[1])
    entropy = torch.special.entr(q).sum(1)
    return (
        functional.cross_entropy(logits, targets, reduction="none"),
        (q - hot).norm(dim=1),
        entropy,
    )


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_scores_equal_the_one_hot_form(chunk, bias, dtype, tolerance):
    states, head, targets = problem(dtype, bias)
    found = token_scores(states, head, targets, chunk)
    for ours, plain in zip(
        (found.nll, found.el2n, found.entropy), dense(states, head, targets), strict=True
    ):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), plain, rtol=tolerance, atol=2 * tolerance)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_capped_logits_give_the_scores_and_gradients_of_the_cap(chunk):
    states, head, targets = problem(torch.float64, bias=True)
    found = token_scores(states, head, targets, chunk, cap=1.5)
    expected = dense(states, head, targets, cap=1.5)
    for ours, plain in zip((found.nll, found.el2n, found.entropy), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    states.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda h: token_scores(h, head, targets, chunk, cap=1.5).nll, states
    )


@pytest.mark.parametrize("chunk", CHUNKS)
def test_confident_tokens_keep_their_small_scores(chunk):
    head = nn.Linear(41, 41, bias=False).requires_grad_(False)
    head.weight.copy_(torch.eye(41))
    states = torch.zeros(3, 41)
    targets = torch.tensor([0, 20, 40])
    # 40 other tokens, each e^-12, e^-16 and e^-40 times as likely as the target.
    gap = torch.tensor([12.0, 16.0, 40.0])
    states[torch.arange(3), targets] = gap
    found = token_scores(states, head, targets, chunk)
    other = (-gap.double()).exp()
    total = 1 + 40 * other
    torch.testing.assert_close(found.nll.double(), torch.log1p(40 * other), rtol=1e-5, atol=0)
    el2n = (40 * other / total).square().add(40 * (other / total).square()).sqrt()
    torch.testing.assert_close(found.el2n.double(), el2n, rtol=1e-5, atol=0)
    entropy = torch.log1p(40 * other) + 40 * gap.double() * other / total
    torch.testing.assert_close(found.entropy.double(), entropy, rtol=1e-5, atol=0)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_gradient_of_nll_is_exact(chunk):
    states, head, targets = problem(torch.float64, bias=True)
    states.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: token_scores(h, head, targets, chunk).nll, states)


def test_gradient_equals_cross_entropy_for_extreme_logits():
    states, head, targets = problem(torch.float64, bias=False, scale=60.0)
    states.requires_grad_(True)
    (ours,) = torch.autograd.grad(token_scores(states, head, targets, 7).nll.sum(), states)
    plain = functional.cross_entropy(states @ head.weight.T, targets, reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(plain, states)[0])


def test_el2n_and_entropy_stand_outside_the_graph():
    states, head, targets = problem(torch.float32, bias=False)
    found = token_scores(states.requires_grad_(True), head, targets)
    assert found.nll.requires_grad
    assert not found.el2n.requires_grad and not found.entropy.requires_grad


def test_no_tensor_as_wide_as_the_vocabulary_is_made(monkeypatch):
    widths = []
    linear = functional.linear

    def noted(*args):
        widths.append(linear(*args).shape)
        return linear(*args)

    monkeypatch.setattr(functional, "linear", noted)
    states, head, targets = problem(torch.float32, bias=False)
    token_scores(states.requires_grad_(True), head, targets, 16).nll.sum().backward()
    assert widths == [(9, 16), (9, 16), (9, 9)]


def test_answer_positions_are_those_that_predict():
    labels = torch.tensor([[-100, -100, 4, 5], [7, -100, 8, -100], [9, -100, -100, -100]])
    answers = AnswerTokens.of(labels)
    # A token in the first place is predicted by nothing and cannot be scored.
    assert answers.mask.tolist() == [
        [False, True, True],
        [False, True, False],
        [False, False, False],
    ]
    assert answers.targets.tolist() == [4, 5, 8]
    assert answers.counts.tolist() == [2, 1, 0]
    assert answers.row_means(torch.tensor([1.0, 4.0, 6.0])).tolist() == [2.5, 6.0, 0.0]
    hidden = torch.arange(12.0).reshape(3, 4, 1)
    assert answers.states(hidden).flatten().tolist() == [1.0, 2.0, 5.0]


def test_a_broken_row_does_not_touch_its_neighbours():
    answers = AnswerTokens.of(torch.tensor([[-100, 4], [-100, 5]]))
    means = answers.row_means(torch.tensor([torch.nan, 3.0]))
    assert means[0].isnan() and means[1] == 3
