"""Seeded projection of the gradients of many modules into one short vector."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SIDE = 64


@dataclass(frozen=True, slots=True, eq=False)
class FactorMap:
    """The random linear map of one factor gradient [side, rank] into ``dim`` numbers.

    ``narrowing`` [64, side] of +-1/8 shortens a long side (None where it is short already). The
    entries that remain, row by row and padded with zeros to whole blocks of ``dim``, go to one
    bucket each with a sign: bucket k receives ``signs[j, k]`` times entry ``source[j, k]`` of every
    block j. A permutation per block instead of a free hash has fewer collisions and needs no
    scattered sums, so it gives the same bytes on a GPU.
    """

    narrowing: Tensor | None
    source: Tensor
    signs: Tensor

    @classmethod
    def draw(cls, side: int, rank: int, dim: int, key: str) -> FactorMap:
        """The map that ``key`` stands for."""
        digest = hashlib.sha256(key.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "little"))
        kept = min(side, SIDE)
        blocks = -(-kept * rank // dim)
        places = rng.permuted(np.tile(np.arange(dim), (blocks, 1)), axis=1)
        source = places + dim * np.arange(blocks)[:, None]
        signs = _signs(rng, (blocks, dim))
        narrowing = _signs(rng, (SIDE, side)) / SIDE**0.5 if side > SIDE else None
        return cls(narrowing, torch.from_numpy(source), signs)

    def to(self, like: Tensor) -> FactorMap:
        """The same map on the device and in the float type of ``like``."""
        narrowing = None if self.narrowing is None else self.narrowing.to(like)
        return FactorMap(narrowing, self.source.to(like.device), self.signs.to(like))

    def __call__(self, gradient: Tensor) -> Tensor:
        """The projections [b, dim] of factor gradients [b, side, rank]."""
        small = gradient if self.narrowing is None else self.narrowing @ gradient
        flat = small.flatten(1)
        padded = functional.pad(flat, (0, self.source.numel() - flat.shape[1]))
        return (padded[:, self.source] * self.signs).sum(1)


class GradientSketch:
    """Sum of the projections of all factors: inner products are kept in expectation.

    A sparse Johnson-Lindenstrauss map (Kane and Nelson 2014, one entry per coordinate) after one
    narrowing per module. Each factor's map follows from the seed and the factor's name alone, so
    neither the order of modules nor the presence of others changes it.
    """

    def __init__(self, dim: int, seed: int) -> None:
        """A sketch of ``dim`` numbers."""
        self.dim = dim
        self.seed = seed
        self._maps: dict[str, FactorMap] = {}

    def project(self, name: str, gradient: Tensor) -> Tensor:
        """The part [b, dim] of the sketch that the factor ``name`` [b, side, rank] adds."""
        if name not in self._maps:
            _, side, rank = gradient.shape
            drawn = FactorMap.draw(side, rank, self.dim, f"{self.seed}/{name}")
            self._maps[name] = drawn.to(gradient)
        return self._maps[name](gradient)


def _signs(rng: np.random.Generator, shape: tuple[int, int]) -> Tensor:
    return torch.from_numpy(rng.integers(0, 2, shape, dtype=np.int8) * 2 - 1).float()
