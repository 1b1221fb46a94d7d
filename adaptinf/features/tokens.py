"""Scores of answer tokens, streamed over the vocabulary so that logits are never kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

IGNORED = -100
VOCAB_CHUNK = 8192


@dataclass(frozen=True, slots=True, eq=False)
class AnswerTokens:
    """Where answers stand in a batch: ``mask`` [b, T-1] marks the positions that predict one.

    ``targets`` [N] are the answer tokens in reading order, ``counts`` [b] how many a row has. The
    state at position t predicts token t + 1, hence one position fewer than tokens.
    """

    mask: Tensor
    targets: Tensor
    counts: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> AnswerTokens:
        """The answer tokens of ``labels`` [b, T], in which -100 stands for all others."""
        following = labels[:, 1:]
        mask = following != IGNORED
        return cls(mask, following[mask], mask.sum(1))

    def states(self, hidden: Tensor) -> Tensor:
        """Hidden states [N, h] that predict the answer tokens, out of ``hidden`` [b, T, h]."""
        return hidden[:, :-1][self.mask]

    def row_means(self, values: Tensor) -> Tensor:
        """Mean [b] of ``values`` [N] over the answer tokens of each row; 0 where there is none."""
        # Not index_add_: on a GPU the order of its sums changes from run to run.
        spread = values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)
        return spread.sum(1) / self.counts.clamp_min(1)

    def row_mean_states(self, hidden: Tensor) -> Tensor:
        """Mean [b, h] in float32 of the predicting states of each row; 0 where there is none."""
        kept = torch.where(self.mask[:, :, None], hidden[:, :-1].float(), 0.0)
        return kept.sum(1) / self.counts.clamp_min(1)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """Per answer token [N]: NLL and entropy in nats, EL2N from 0 to sqrt 2; NLL has a gradient."""

    nll: Tensor
    el2n: Tensor
    entropy: Tensor


def token_scores(
    states: Tensor,
    head: nn.Linear,
    targets: Tensor,
    chunk: int = VOCAB_CHUNK,
    cap: float | None = None,
) -> TokenScores:
    """Scores of ``targets`` [N] given the ``states`` [N, h] that predict them.

    With q = softmax of the logits: NLL = -log q_y, EL2N = ||q - onehot(y)||_2 (Paul et al. 2021),
    entropy = -sum q log q. ``chunk`` tokens of the vocabulary are in memory at a time, in float32
    at least; the backward pass computes them again. The head's weights are taken as constants. With
    a ``cap`` the logits are cap tanh(z / cap) of what the head gives.
    """
    return TokenScores(*_StreamedScores.apply(states, head.weight, head.bias, targets, chunk, cap))


class _StreamedScores(torch.autograd.Function):
    """Softmax statistics over all tokens but the target, then completed by it.

    With sums relative to the largest logit m, S1 = sum e^(z-m), S2 = sum e^(2(z-m)) and
    Sz = sum (z-m) e^(z-m) over the others, t = e^(z_y-m) and S = S1 + t:
    EL2N^2 = (S1^2 + S2) / S^2 and entropy = log S - (Sz + (z_y-m) t) / S.
    Leaving the target out of the sums keeps confident tokens exact: S2/S^2 - 2q_y + 1 over all
    tokens is a difference of near-equal numbers, wrong by 3e-4 in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        y: Tensor,
        chunk: int,
        cap: float | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        work = torch.promote_types(states.dtype, torch.float32)
        lowest = torch.finfo(work).min
        s1, s2, sz, own = states.new_zeros((4, len(states)), dtype=work)
        top = torch.full_like(s1, lowest)
        for start in range(0, len(weight), chunk):
            z = _logits(states, weight, bias, start, chunk, cap)
            place, here = _place(y, start, z)
            higher, found = torch.maximum(top, z.amax(1)), z.gather(1, place)
            own = torch.where(here, found, own[:, None])[:, 0]
            z.scatter_(1, place, torch.where(here, lowest, found))
            z -= higher[:, None]
            e, fall = z.exp(), top - higher
            sz = fall.exp() * (sz + fall * s1) + (z * e).sum(1)
            s1 = fall.exp() * s1 + e.sum(1)
            s2 = fall.mul(2).exp() * s2 + e.square().sum(1)
            top = higher
        own = own - top
        log_sum = torch.log1p(s1 + torch.expm1(own))
        total = s1 + own.exp()
        el2n = (s1.square() + s2).sqrt() / total
        entropy = (log_sum - (sz + own * own.exp()) / total).clamp_min(0)
        ctx.save_for_backward(states, weight, bias, y, top + log_sum)
        ctx.chunk, ctx.cap = chunk, cap
        ctx.mark_non_differentiable(el2n, entropy)
        return log_sum - own, el2n, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, y, log_sum = ctx.saved_tensors
        gradient = torch.zeros_like(states, dtype=log_sum.dtype)
        for start in range(0, len(weight), ctx.chunk):
            z = _logits(states, weight, bias, start, ctx.chunk, ctx.cap)
            place, here = _place(y, start, z)
            q = (z - log_sum[:, None]).exp_().scatter_add_(1, place, -here.to(z.dtype))
            if ctx.cap is not None:
                q *= 1 - (z / ctx.cap).square()
            pull = (q * slope[:, None]).to(weight.dtype)
            gradient += pull @ weight[start : start + ctx.chunk]
        return gradient.to(states.dtype), None, None, None, None, None


def _logits(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    start: int,
    chunk: int,
    cap: float | None,
) -> Tensor:
    part = slice(start, start + chunk)
    z = functional.linear(states, weight[part], None if bias is None else bias[part])
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    return z if cap is None else (z / cap).tanh() * cap


def _place(y: Tensor, start: int, z: Tensor) -> tuple[Tensor, Tensor]:
    """Column [N, 1] of each target in this chunk, and whether it is in this chunk at all."""
    column = (y - start)[:, None]
    return column.clamp(0, z.shape[1] - 1), (column >= 0) & (column < z.shape[1])
