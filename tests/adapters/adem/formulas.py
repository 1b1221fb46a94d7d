"""The paper's attention as a loop over tokens and keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def slowly(x: Tensor, keys: Tensor, values: Tensor, ratio: float) -> Tensor:
    """One row: ``x`` [T, hidden], its own keys and values [n, hidden]."""
    result = torch.zeros_like(x)
    for t, token in enumerate(x.tolist()):
        query = [v / (1 + math.exp(-v)) for v in token]
        scores = [sum(q * k for q, k in zip(query, key, strict=True)) for key in keys.tolist()]
        lowest = sorted(scores)[math.floor(ratio * len(scores))] if scores else 0
        for score, value in zip(scores, values, strict=True):
            if score >= lowest:
                result[t] += score * value
    return result
