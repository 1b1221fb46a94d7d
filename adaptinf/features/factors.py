"""Per-sample gradients of a matrix, kept as the two factors that they are products of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """One matrix's per-sample gradients [b, wide, narrow] = wide^T narrow, summed over tokens.

    ``wide`` [b, T, wide] and ``narrow`` [b, T, narrow]. Of a LoRA matrix the narrow side has the
    adapter's rank: for B they are the backward signal and A x, for A they are x and the signal
    times B. Of a weight they are the backward signal and x, and ``thin`` is False: its gradients
    are as large as the weight itself, and so are not to be formed.
    """

    name: str
    wide: Tensor
    narrow: Tensor
    thin: bool = True

    def gradient(self) -> Tensor:
        """The gradients of all samples [b, wide, narrow], in float32 at least."""
        return (self.wide.transpose(1, 2) @ self.narrow).to(self._work)

    def norms(self) -> Tensor:
        """Norms [b] of the gradients.

        ||sum_t w_t n_t^T||^2 = sum_tu (w_t . w_u) (n_t . n_u): from the tokens' inner products
        where these are fewer operations than the gradient is (Goodfellow 2015, for T tokens).
        """
        _, tokens, wide = self.wide.shape
        narrow = self.narrow.shape[2]
        if wide * narrow <= tokens * (wide + narrow):
            return torch.linalg.vector_norm(self.gradient(), dim=(1, 2))
        left, right = self.wide.to(self._work), self.narrow.to(self._work)
        products = (left @ left.transpose(1, 2)) * (right @ right.transpose(1, 2))
        return products.sum(dim=(1, 2), dtype=torch.float64).clamp_min(0).sqrt().to(self._work)

    @property
    def _work(self) -> torch.dtype:
        return torch.promote_types(self.wide.dtype, torch.float32)
