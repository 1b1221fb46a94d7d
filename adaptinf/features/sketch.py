"""Seeded projection of the gradients of many modules into one short vector."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adaptinf.features.factors import Factor

SIDE = 64


@dataclass(frozen=True, slots=True, eq=False)
class FactorMap:
    """The random linear map of one factor's gradient [wide, narrow] into ``dim`` numbers.

    ``wide`` [64, side] and ``narrow`` [64, side] of +-1/8 shorten a long side (None where it stays
    as it is; the rank of an adapter always does). The entries that remain, row by row and padded
    with zeros to whole blocks of ``dim``, go to one bucket each with a sign: bucket k receives
    ``signs[j, k]`` times entry ``source[j, k]`` of every block j. A permutation per block instead
    of a free hash has fewer collisions and needs no scattered sums, so it gives the same bytes on a
    GPU.
    """

    wide: Tensor | None
    narrow: Tensor | None
    source: Tensor
    signs: Tensor

    @classmethod
    def draw(cls, wide: int, narrow: int, dim: int, key: str, *, thin: bool = True) -> FactorMap:
        """The map that ``key`` stands for; of a ``thin`` factor only the wide side is shortened."""
        digest = hashlib.sha256(key.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "little"))
        kept = narrow if thin else min(narrow, SIDE)
        entries = min(wide, SIDE) * kept
        blocks = -(-entries // dim)
        places = rng.permuted(np.tile(np.arange(dim), (blocks, 1)), axis=1)
        source = places + dim * np.arange(blocks)[:, None]
        signs = random_signs(rng, (blocks, dim))
        shorter = random_signs(rng, (SIDE, wide)) / SIDE**0.5 if wide > SIDE else None
        other = random_signs(rng, (SIDE, narrow)) / SIDE**0.5 if narrow > kept else None
        return cls(shorter, other, torch.from_numpy(source), signs)

    def to(self, like: Tensor) -> FactorMap:
        """The same map on the device and in the float type of ``like``."""
        wide, narrow = (None if m is None else m.to(like) for m in (self.wide, self.narrow))
        return FactorMap(wide, narrow, self.source.to(like.device), self.signs.to(like))

    def __call__(self, gradient: Tensor) -> Tensor:
        """The projections [b, dim] of gradients [b, wide, narrow]."""
        small = gradient if self.wide is None else self.wide @ gradient
        return self._hashed(small if self.narrow is None else small @ self.narrow.T)

    def of_factor(self, factor: Factor) -> Tensor:
        """The projections [b, dim] of a factor's gradients, which are not formed."""
        wide, narrow = factor.wide.to(self.signs.dtype), factor.narrow.to(self.signs.dtype)
        left = wide if self.wide is None else wide @ self.wide.T
        right = narrow if self.narrow is None else narrow @ self.narrow.T
        return self._hashed(left.transpose(1, 2) @ right)

    def _hashed(self, small: Tensor) -> Tensor:
        flat = small.flatten(1)
        padded = functional.pad(flat, (0, self.source.numel() - flat.shape[1]))
        return (padded[:, self.source] * self.signs).sum(1)


class GradientSketch:
    """Sum of the projections of all factors: inner products are kept in expectation.

    A sparse Johnson-Lindenstrauss map (Kane and Nelson 2014, one entry per coordinate) after one
    narrowing per module and long side (LoGra, Choe et al. 2024). Each factor's map follows from the
    seed and the factor's name alone, so neither the order of modules nor the presence of others
    changes it.
    """

    def __init__(self, dim: int, seed: int) -> None:
        """A sketch of ``dim`` numbers."""
        self.dim = dim
        self.seed = seed
        self._maps: dict[str, FactorMap] = {}

    def project(self, name: str, gradient: Tensor) -> Tensor:
        """The part [b, dim] of the sketch that thin gradients [b, wide, narrow] add."""
        return self._map(name, gradient.shape[1], gradient.shape[2], gradient)(gradient)

    def add(self, factor: Factor) -> tuple[Tensor, Tensor]:
        """The part [b, dim] of the sketch that a factor adds, and its gradients' norms [b]."""
        if factor.thin:
            gradient = factor.gradient()
            norms = torch.linalg.vector_norm(gradient, dim=(1, 2))
            return self.project(factor.name, gradient), norms
        like = torch.promote_types(factor.wide.dtype, torch.float32)
        sides = factor.wide.shape[2], factor.narrow.shape[2]
        drawn = self._map(factor.name, *sides, factor.wide.new_empty(0, dtype=like), thin=False)
        return drawn.of_factor(factor), factor.norms()

    def _map(
        self, name: str, wide: int, narrow: int, like: Tensor, *, thin: bool = True
    ) -> FactorMap:
        if name not in self._maps:
            drawn = FactorMap.draw(wide, narrow, self.dim, f"{self.seed}/{name}", thin=thin)
            self._maps[name] = drawn.to(like)
        return self._maps[name]


def random_signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """A tensor of +1 and -1, float32."""
    return torch.from_numpy(rng.integers(0, 2, shape, dtype=np.int8) * 2 - 1).float()
