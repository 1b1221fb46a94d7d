"""Scores of answer tokens, streamed over the vocabulary so that logits are never kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

IGNORED = -100
VOCAB_CHUNK = 4096


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

    @property
    def read(self) -> Tensor:
        """``mask`` with a place for the last token [b, T], which predicts nothing."""
        return functional.pad(self.mask, (0, 1))

    def states(self, hidden: Tensor) -> Tensor:
        """Hidden states [N, h] that predict the answer tokens, out of ``hidden`` [b, T, h]."""
        return hidden[:, :-1][self.mask]

    def row_means(self, values: Tensor) -> Tensor:
        """Mean [b] of ``values`` [N] over the answer tokens of each row; 0 where there is none.

        The means are where the values are.
        """
        mask, counts = self.mask.to(values.device), self.counts.to(values.device)
        # Not index_add_: on a GPU the order of its sums changes from run to run.
        spread = values.new_zeros(mask.shape).masked_scatter(mask, values)
        return spread.sum(1) / counts.clamp_min(1)


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
    at least. The head's weights are taken as constants. With
    a ``cap`` the logits are cap tanh(z / cap) of what the head gives.
    """
    return TokenScores(*_StreamedScores.apply(states, head.weight, head.bias, targets, chunk, cap))


class _StreamedScores(torch.autograd.Function):
    """Softmax statistics over all tokens but the target, then completed by it.

    With m the largest of the other logits and e = e^(z-m), the sums over the others S1 = sum e,
    S2 = sum e^2 and Sz = sum (z-m) e give their part r = sigmoid(log S1 - (z_y-m)) of the
    probability, so EL2N^2 = r^2 (1 + S2 / S1^2), the entropy is that of (r, 1-r) and r times that
    of e / S1, and the NLL pulls the state to r (sum e W / S1 - W_y). Sums relative to the others
    alone keep confident tokens exact: S2/S^2 - 2q_y + 1 over all tokens is a difference of
    near-equal numbers, wrong by 3e-4 in float32.

    That pull is summed up with the rest, so the backward pass makes no logits again.
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
        s1, s2, sz, own = states.new_zeros((4, len(states), 1), dtype=work)
        top = torch.full_like(s1, lowest)
        pulled = torch.zeros_like(states, dtype=work) if ctx.needs_input_grad[0] else None
        for start in range(0, len(weight), chunk):
            part = slice(start, start + chunk)
            z = functional.linear(states, weight[part], None if bias is None else bias[part])
            z, bend = _capped(z.to(work), cap)
            place, here = _place(y, start, z)
            found = z.gather(1, place)
            own = torch.where(here, found, own)
            z.scatter_(1, place, torch.where(here, lowest, found))
            higher = torch.maximum(top, z.amax(1, keepdim=True))
            e, fall = z.sub_(higher).exp(), top - higher
            kept = fall.exp()
            sz = kept * (sz + fall * s1) + z.mul_(e).sum(1, keepdim=True)
            s1 = kept * s1 + e.sum(1, keepdim=True)
            s2 = kept.square() * s2 + torch.mul(e, e, out=z).sum(1, keepdim=True)
            top = higher
            if pulled is not None:
                e = e if bend is None else e.mul_(bend)
                pulled = pulled.mul_(kept).add_(e.to(weight.dtype) @ weight[part])
        nll, el2n, entropy, rest = _completed(s1, s2, sz, own - top)
        if pulled is not None:
            target = weight[y].to(work) if cap is None else weight[y] * _slope(own, cap)
            ctx.save_for_backward(pulled.div_(s1).sub_(target).mul_(rest))
        ctx.dtype = states.dtype
        nll, el2n, entropy = (column.squeeze(1) for column in (nll, el2n, entropy))
        ctx.mark_non_differentiable(el2n, entropy)
        return nll, el2n, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (pull,) = ctx.saved_tensors
        return (pull * slope[:, None]).to(ctx.dtype), None, None, None, None, None


def _completed(s1: Tensor, s2: Tensor, sz: Tensor, own: Tensor) -> tuple[Tensor, ...]:
    """NLL, EL2N, entropy and r from the sums over the others and the target's own z - m."""
    ahead = own - s1.log()
    nll, nll_rest = -functional.logsigmoid(ahead), -functional.logsigmoid(-ahead)
    rest = (-nll_rest).exp()
    spread = (s1.log() - sz / s1).clamp_min(0)
    el2n = rest * (1 + s2 / s1.square()).sqrt()
    entropy = (-nll).exp() * nll + rest * (nll_rest + spread)
    return nll, el2n, entropy, rest


def _capped(z: Tensor, cap: float | None) -> tuple[Tensor, Tensor | None]:
    """Logits after their cap, and by how much they still follow those before it."""
    if cap is None:
        return z, None
    z = (z / cap).tanh_().mul_(cap)
    return z, _slope(z, cap)


def _slope(z: Tensor, cap: float) -> Tensor:
    return 1 - (z / cap).square()


def _place(y: Tensor, start: int, z: Tensor) -> tuple[Tensor, Tensor]:
    """Column [N, 1] of each target in this chunk, and whether it is in this chunk at all."""
    column = (y - start)[:, None]
    return column.clamp(0, z.shape[1] - 1), (column >= 0) & (column < z.shape[1])
