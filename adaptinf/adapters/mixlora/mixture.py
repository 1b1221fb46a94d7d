"""The pools of factors of one linear module, its routers, and the update they give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptinf.adapters.mixlora.config import MixLoraConfig
from adaptinf.adapters.mixlora.routing import Choice, Route
from adaptinf.errors import UserError


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """Log-probabilities [rows, experts] of the factors of each pool."""

    a: Tensor
    b: Tensor


class Mixture(nn.Module):
    """Adds ``alpha/rank * sum_k <x, a_k> b_k``; the k-th A and B factor are chosen per row.

    Shen et al. 2024, section 3. With E experts, rank r, and h the mean of x over the row's prompt:

    - A: the r largest of ``W_A h``, best first; ``W_A`` [E, in].
    - B, routing ``input``: the r largest of ``W_B h``.
    - B, routing ``input_lora_a_param``: the r largest of ``softmax(W_B h) + w sum_k q_k`` with
      ``q_k = softmax(W_AB[k] a_k)``; ``W_AB`` [r, E, in], ``a_k`` the k-th A factor chosen. With
      ``conditional_again`` it is ``w softmax(sum_k q_k)``, as in the authors' code.

    A chosen factor has weight 1 in the forward pass. Learned routers get their gradient through it
    (straight-through: the gradient of ``p / stop_gradient(p)``), frozen ones are buffers. Neither
    h nor ``a_k`` carries a gradient of the routers back, so all else is trained just as if the
    routers were frozen.

    Cost, in multiply-adds per row of T tokens: ``T r (in + out)``, as for LoRA, to apply the
    factors, and once per row ``T in`` for h, ``2 E in`` for ``W_A`` and ``W_B``, ``r E in`` for
    ``W_AB``. The product of the factors [in, out], which would cost ``(r + T) in out``, is never
    formed.
    """

    router_a: Tensor
    router_b: Tensor
    router_ab: Tensor | None

    def __init__(self, inputs: int, outputs: int, config: MixLoraConfig) -> None:
        super().__init__()
        self.rank = config.rank
        self.scaling = config.scaling
        self.conditional_weight = config.conditional_weight
        self.conditional_again = config.conditional_again
        self.learned = config.routers == "learned"
        self.dropout = nn.Dropout(config.dropout)
        experts = config.num_experts
        self.pool_a = nn.Parameter(_uniform(experts, inputs, fan=inputs))
        self.pool_b = nn.Parameter(torch.zeros(experts, outputs))
        self._add_router("router_a", _uniform(experts, inputs, fan=inputs))
        self._add_router("router_b", _uniform(experts, inputs, fan=inputs))
        conditional = config.routing == "input_lora_a_param"
        # The default of the authors' layer, which has r * in inputs.
        shape, fan = (config.rank, experts, inputs), config.rank * inputs
        self._add_router("router_ab", _uniform(*shape, fan=fan) if conditional else None)

    def _add_router(self, name: str, weights: Tensor | None) -> None:
        if self.learned:
            self.register_parameter(name, None if weights is None else nn.Parameter(weights))
        else:
            self.register_buffer(name, weights)

    def forward(self, x: Tensor, route: Route) -> Tensor:
        """The update [rows, tokens, out] for ``x`` [rows, tokens, in] on this route.

        Raises:
            UserError: the route does not belong to these rows.
        """
        choice, weights = self.choose(x, route)
        a = F.embedding(choice.a, self.pool_a)
        b = F.embedding(choice.b, self.pool_b)
        inner = torch.bmm(self.dropout(x), a.transpose(1, 2)) * self.scaling
        if weights is not None:
            inner = inner * weights.to(inner.dtype).unsqueeze(1)
        return torch.bmm(inner, b)

    def choose(self, x: Tensor, route: Route) -> tuple[Choice, Tensor | None]:
        """The factors of each row; if routers learn, also their weights [rows, rank], all 1.

        Raises:
            UserError: the route does not belong to these rows.
        """
        kept = route.choices.get(self)
        learning = self.learned and torch.is_grad_enabled() and self.router_a.requires_grad
        if route.follows and kept is None:
            raise UserError(
                "the prompt was read without this adapter, so it has no MixLoRA route",
                hint="switch adapters before the prompt, not between prompt and answer",
            )
        if kept is None or (learning and not route.follows):
            with torch.set_grad_enabled(learning), torch.autocast(x.device.type, enabled=False):
                mean = _prompt_mean(x.detach(), route.prompt)
                choice, scores = self._ranked(mean, kept)
        else:
            choice, scores = kept, None
        if len(choice.a) != len(x):
            raise UserError(
                "the route of the prompt is for another number of rows",
                seen=f"{len(choice.a)} rows, then {len(x)}",
                hint="keep the batch as it was while the prompt was read",
            )
        route.choices[self] = choice
        if scores is None or not learning:
            return choice, None
        logs = scores.a.gather(1, choice.a) + scores.b.gather(1, choice.b)
        return choice, 1 + (logs - logs.detach())

    def _ranked(self, mean: Tensor, kept: Choice | None) -> tuple[Choice, _Scores]:
        """Choice and scores for prompt means [rows, in]; the choice is ``kept`` if there is one."""
        logits = F.linear(mean, self.router_a.float())
        first = logits.detach().topk(self.rank).indices if kept is None else kept.a
        scores = _Scores(logits.log_softmax(-1), self._scores_b(mean, first))
        second = scores.b.detach().topk(self.rank).indices if kept is None else kept.b
        return Choice(first, second), scores

    def _scores_b(self, mean: Tensor, chosen: Tensor) -> Tensor:
        by_prompt = F.linear(mean, self.router_b.float()).log_softmax(-1)
        if self.router_ab is None:
            return by_prompt
        factors = F.embedding(chosen, self.pool_a.detach()).float()
        by_factor = torch.einsum("nri,rei->nre", factors, self.router_ab.float()).log_softmax(-1)
        if self.conditional_again:
            by_factor = by_factor.logsumexp(1, keepdim=True).exp().log_softmax(-1)
        by_factor = by_factor + math.log(self.conditional_weight)
        return torch.cat([by_prompt.unsqueeze(1), by_factor], 1).logsumexp(1)


def _prompt_mean(x: Tensor, prompt: Tensor | None) -> Tensor:
    """Means [rows, in] over the prompt's tokens in float32: a choice must not turn on rounding."""
    if prompt is None:
        return x.float().mean(1)
    weights = prompt.to(x.device, torch.float32)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return torch.bmm(weights.unsqueeze(1), x.float()).squeeze(1)


def _uniform(*shape: int, fan: int) -> Tensor:
    """Kaiming's uniform draw with a = sqrt 5, the default of linear layers."""
    return torch.empty(shape).uniform_(-1 / math.sqrt(fan), 1 / math.sqrt(fan))
