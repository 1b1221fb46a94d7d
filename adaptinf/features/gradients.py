"""Projected per-sample gradients of one layer, by a backward pass or by differences of losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from adaptinf.errors import UserError
from adaptinf.features.ending import Ending
from adaptinf.features.forward import Forward, Forwarded
from adaptinf.features.inputs import Batch
from adaptinf.features.sketch import GradientSketch, random_signs
from adaptinf.features.taps import LayerTaps, LoraPair, Matrices, lora_pairs

Kind = Literal["auto", "adapter", "weights", "zero-order", "none"]

# Half precision loses signals below 6e-8; a power of two is taken out again without rounding.
_HALF_SCALE = 1024.0

DIRECTIONS = 16
STEP = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Projected gradients ``sketch`` [b, dim], ``norms`` [b] of the full ones, and the forward."""

    sketch: Tensor
    norms: Tensor
    seen: Forwarded


class GradientSource(Protocol):
    """Where gradients come from; ``kind`` says of what they are, ``dim`` how long a sketch is."""

    kind: Kind
    dim: int

    def __call__(self, rows: Batch, read: Tensor) -> Gradients:
        """Gradients of a batch; of its last hidden states those at ``read`` [b, T] will be used."""


class BackwardGradients:
    """True gradients: a backward pass that ends at the layer, below which there is no graph."""

    def __init__(
        self,
        layers: Sequence[nn.Module],
        layer: int,
        matrices: Matrices,
        forward: Forward,
        sketch: GradientSketch,
    ) -> None:
        """Gradients of layer number ``layer``.

        Raises:
            UserError: it has no matrices of that kind.
        """
        where = f"layer {layer} of the text model"
        self._taps = LayerTaps(layers[layer], where, matrices)
        self._ending = Ending(layers, layer)
        self._forward = forward
        self._sketch = sketch
        self.dim = sketch.dim
        self.kind: Kind = self._taps.matrices

    def __call__(self, rows: Batch, read: Tensor) -> Gradients:
        """One forward and one backward pass."""
        with self._taps.listening(), torch.enable_grad():
            with self._ending.only_at(read):
                seen = self._forward(rows)
            scale = _HALF_SCALE if self._forward.dtype == torch.float16 else 1.0
            sketch, norms = self._projected(seen.losses, scale)
        return Gradients(sketch / scale, norms / scale, seen)

    def _projected(self, losses: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        sketch = losses.new_zeros(len(losses), self._sketch.dim)
        norms = []
        for factor in self._taps.factors(losses, scale):
            part, norm = self._sketch.add(factor)
            sketch += part
            norms.append(norm)
        return sketch, torch.linalg.vector_norm(torch.stack(norms), dim=0)


class NoGradients:
    """For those who read none: a forward pass alone. Sketches are one zero, norms NaN."""

    kind: Kind = "none"
    dim = 1

    def __init__(self, layers: Sequence[nn.Module], forward: Forward) -> None:
        """Of a text model's ``layers``."""
        self._ending = Ending(layers)
        self._forward = forward

    def __call__(self, rows: Batch, read: Tensor) -> Gradients:
        """One forward pass."""
        with torch.no_grad(), self._ending.only_at(read):
            seen = self._forward(rows)
        losses = seen.losses
        return Gradients(losses.new_zeros(len(losses), 1), torch.full_like(losses, torch.nan), seen)


class ZeroOrderGradients:
    """Estimates from losses alone (SPSA, Spall 1992; MeZO, Malladi et al. 2023), for comparison.

    For each of 16 directions z of random signs over the layer's LoRA matrices, the same for all
    rows, c = (L(w + h z) - L(w - h z)) / 2h is a row's slope along z, and its gradient is estimated
    by the mean of c z, whose sketch is that of true gradients in expectation. The norm's estimate
    is the root of the mean of c^2. All rows' estimates lie in the directions' span: with fewer
    directions than skills they cannot tell these apart. Costs 33 forward passes.
    """

    kind: Kind = "zero-order"

    def __init__(
        self, layers: Sequence[nn.Module], layer: int, forward: Forward, sketch: GradientSketch
    ) -> None:
        """Estimates for layer number ``layer``.

        Raises:
            UserError: it has no active LoRA matrices.
        """
        self._pairs = lora_pairs(layers[layer])
        if not self._pairs:
            raise UserError(
                f"layer {layer} of the text model has no active LoRA modules",
                where="gradients",
                seen=self.kind,
                hint="attach LoRA to it, or choose weights",
            )
        self._forward = forward
        self._sketch = sketch
        self.dim = sketch.dim

    def __call__(self, rows: Batch, read: Tensor) -> Gradients:
        """One forward pass as the model is, and two for every direction."""
        with torch.no_grad():
            seen = self._forward(rows)
            slopes = [self._slopes(rows, number) for number in range(DIRECTIONS)]
            c = torch.stack(slopes, 1)
            spread = torch.stack([self._sketched(number, c) for number in range(DIRECTIONS)])
        return Gradients(c @ spread / DIRECTIONS, c.square().mean(1).sqrt(), seen)

    def _slopes(self, rows: Batch, number: int) -> Tensor:
        """Slopes [b] of the losses along a direction."""
        moved = []
        for sign in (1, -1):
            with self._moved(number, sign * STEP):
                moved.append(self._forward.losses(rows))
        return (moved[0] - moved[1]) / (2 * STEP)

    @contextmanager
    def _moved(self, number: int, by: float) -> Iterator[None]:
        """The matrices moved along a direction inside; put back from copies, bit for bit."""
        weights = [weight for pair in self._pairs for weight in _weights(pair)]
        kept = [weight.detach().clone() for weight in weights]
        try:
            for weight, step in zip(weights, self._direction(number), strict=True):
                weight.add_(step.to(weight), alpha=by)
            yield
        finally:
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)

    def _direction(self, number: int) -> Iterator[Tensor]:
        """Random signs for every matrix, from the sketch's seed."""
        for pair in self._pairs:
            key = [self._sketch.seed, number, *pair.name.encode()]
            rng = np.random.default_rng(key)
            for weight in _weights(pair):
                yield random_signs(rng, tuple(weight.shape))

    def _sketched(self, number: int, like: Tensor) -> Tensor:
        """The sketch [dim] of a direction."""
        signs: Sequence[Tensor] = [step.to(like) for step in self._direction(number)]
        parts = []
        for place, pair in enumerate(self._pairs):
            lower, upper = signs[2 * place], signs[2 * place + 1]
            parts.append(self._sketch.project(f"{pair.name}.B", upper[None])[0])
            parts.append(self._sketch.project(f"{pair.name}.A", lower.T[None])[0])
        return torch.stack(parts).sum(0)


def _weights(pair: LoraPair) -> tuple[Tensor, Tensor]:
    return pair.lower.weight, pair.upper.weight
