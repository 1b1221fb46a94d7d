"""The attention beside a feed-forward module: no weights, no softmax, no heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Keys and values of a batch's images, the same for every layer.

    ``keys``, ``values`` [rows, S, hidden] are zero where a row has fewer than S; ``filled``
    [rows, S] bool says where it has any. ``dropped`` [rows] int64: how many of a token's scores
    are dropped.
    """

    keys: Tensor
    values: Tensor
    filled: Tensor
    dropped: Tensor
    most: int
    """The largest of ``dropped``."""


def cross_attention(x: Tensor, shared: Shared) -> Tensor:
    """``A V`` [rows, T, hidden] with ``A = drop(silu(x) K^T)``, ``x`` [rows, T, hidden].

    Hao et al. 2024, section 3. With n keys in a row, the floor(drop_ratio n) lowest scores of every
    token are set to zero: those less than the one at that place in ascending order. Which these
    are has no gradient. A row without images gets zeros.
    """
    scores = torch.bmm(F.silu(x), shared.keys.to(x.dtype).transpose(1, 2))
    if shared.most:
        low = scores.detach().masked_fill(~shared.filled.unsqueeze(1), torch.inf)
        # Only the lowest are sorted: a full sort of S scores per token costs much memory.
        low = low.topk(shared.most + 1, largest=False).values
        place = shared.dropped[:, None, None].expand(-1, x.shape[1], 1)
        scores = scores.masked_fill(scores < low.gather(2, place), 0)
    return torch.bmm(scores, shared.values.to(scores.dtype))
