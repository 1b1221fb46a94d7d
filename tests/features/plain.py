"""The slow way, for comparison: batches of one, all logits, ordinary autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptinf.features.sketch import FactorMap
from adaptinf.models.parts import running_layers


@dataclass(frozen=True)
class Projection:
    """What the extractor is told of its projection."""

    dim: int
    seed: int


def plain_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean NLL per row."""
    losses = []
    for row_logits, targets in zip(logits[:, :-1], labels[:, 1:], strict=True):
        answered = targets != -100
        losses.append(functional.cross_entropy(row_logits[answered], targets[answered]))
    return torch.stack(losses)


def plain_gradients(model: nn.Module, loss: Tensor, layer: int) -> dict[str, Tensor]:
    """Ordinary autograd of a scalar loss: factor name -> gradient [side, rank]."""
    parts = {}
    for name, module in running_layers(model)[layer].named_modules():
        if hasattr(module, "lora_A"):
            parts[f"{name}.default.A"] = module.lora_A["default"].weight
            parts[f"{name}.default.B"] = module.lora_B["default"].weight
    gradients = torch.autograd.grad(loss, list(parts.values()))
    return {
        name: gradient.T if name.endswith(".A") else gradient
        for name, gradient in zip(parts, gradients, strict=True)
    }


def plain_weight_gradients(model: nn.Module, loss: Tensor, layer: int) -> dict[str, Tensor]:
    """Ordinary autograd by a layer's own linear weights, under whatever adapter is on them."""
    parts = {}
    for name, module in running_layers(model)[layer].named_modules():
        ours = any(word in name for word in ("lora_", "mixlora_", "adem_"))
        if isinstance(module, nn.Linear) and not ours:
            bare = ".".join(part for part in name.split(".") if part != "base_layer")
            parts[f"{bare}.W"] = module.weight
    gradients = torch.autograd.grad(loss, list(parts.values()))
    return dict(zip(parts, gradients, strict=True))


def plain_features(gradients: dict[str, Tensor], projection: Projection) -> tuple[Tensor, Tensor]:
    """Projected unit gradient and the full gradient's norm, every gradient materialised."""
    sketch = torch.zeros(projection.dim, dtype=torch.float64)
    for name, gradient in gradients.items():
        key, thin = f"{projection.seed}/{name}", not name.endswith(".W")
        drawn = FactorMap.draw(*gradient.shape, projection.dim, key, thin=thin)
        sketch += drawn.to(sketch)(gradient.double()[None])[0]
    norm = torch.cat([g.flatten() for g in gradients.values()]).double().norm()
    return sketch / sketch.norm(), norm


def plain_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The scores of a row that need no gradient, from logits [T, V] and one-hot targets."""
    answered = labels[1:] != -100
    q = logits[:-1][answered].double().softmax(1)
    hot = functional.one_hot(labels[1:][answered], q.shape[1])
    return {
        "perplexity": (-(q * hot).sum(1).log()).mean().exp(),
        "el2n": (q - hot).norm(dim=1).mean(),
        "entropy": torch.special.entr(q).sum(1).mean(),
    }


def plain_mean_of_exp(logits: Tensor, labels: Tensor) -> float:
    """The other perplexity of a row, one token at a time: the mean of 1 / p."""
    q = logits.double().softmax(1)
    answered = [t for t in range(1, len(labels)) if labels[t] != -100]
    return sum(1 / float(q[t - 1, labels[t]]) for t in answered) / len(answered)


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference, in units of what is expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())
