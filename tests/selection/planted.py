"""Rows of planted skills, for tests that ask whether they are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Planted:
    """Rows [n, d] of any length, and the number of each one's skill [n]."""

    rows: NDArray[np.float16]
    skills: NDArray[np.int64]


def planted(n: int, skills: int, d: int, noise: float, seed: int, skew: float = 1.0) -> Planted:
    """Skills of sizes in proportion to 1 / rank^skew, in random order.

    Each has a random direction; to it a row adds Gaussian noise whose length is ``noise`` times
    that of the direction, so that its cosine to it is about 1 / sqrt(1 + noise^2).
    """
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, skills + 1) ** skew
    sizes = np.floor(weights / weights.sum() * n).astype(int)
    sizes[0] += n - sizes.sum()
    labels = rng.permutation(np.repeat(np.arange(skills), sizes))
    directions = rng.standard_normal((skills, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = directions[labels] + noise / np.sqrt(d) * rng.standard_normal((n, d))
    return Planted((rows * rng.uniform(0.1, 10, (n, 1))).astype(np.float16), labels)
