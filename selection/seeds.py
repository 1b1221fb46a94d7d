"""One random generator per part, so that a new part shifts no other part's draws."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, part: str, index: int = 0) -> np.random.Generator:
    """Generator of the named part (and of its ``index``-th piece), the same on every machine."""
    key = (zlib.crc32(part.encode()), index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
