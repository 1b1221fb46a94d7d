"""The visual prompt: what images become before the text layers attend to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptinf.adapters.adem.attention import Shared
from adaptinf.adapters.adem.config import AdemConfig
from adaptinf.adapters.adem.families import Pictures


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where each image is in a batch; an image that stands in several rows counts in each.

    ``picture``, ``row``, ``slot``, ``column`` [m] int64: which image, in which row, as the
    how-manieth of that row, and at which token it begins. ``counts``: images in each row.
    """

    picture: Tensor
    row: Tensor
    slot: Tensor
    column: Tensor
    counts: list[int]


class VisualPrompt(nn.Module):
    """The parameters of an ADEM adapter that all text layers share.

    Hao et al. 2024, section 3: ``P = beta phi(pool(F))``, keys ``silu(P + e1)``, values ``P + e2``,
    with F the features of an image, pooled to each scale of ``down_sample_num``, phi two linear
    maps with SiLU between, and ``e1``, ``e2`` [S, hidden] learned; S is the sum of the scales.
    Keys and values of a row's images follow one another. In mode ``replace``, phi_cls, of the same
    form, makes the token that is left of an image from the image's [cls] token.

    Two differences from the paper: a row without images has no values at all (there it attends to
    e2), and in mode ``add`` phi's second map begins at zero (there: Xavier), hence all values do.
    """

    cls_phi: nn.Module | None

    def __init__(self, width: int, hidden: int, config: AdemConfig) -> None:
        super().__init__()
        self.beta = config.beta
        self.drop_ratio = config.drop_ratio
        self.sides = [math.isqrt(n) for n in config.down_sample_num]
        self.replaces = config.mode == "replace"
        keys = sum(config.down_sample_num)
        self.e1 = nn.Parameter(0.02 * torch.randn(keys, hidden))
        self.e2 = nn.Parameter(torch.zeros(keys, hidden))
        self.phi = _projection(width, config.hidden_proj, hidden)
        if not self.replaces:
            nn.init.zeros_(self.phi[2].weight)
        self.cls_phi = _projection(width, config.hidden_proj, hidden) if self.replaces else None

    def shared(self, pictures: Pictures, places: Places) -> Shared:
        """Keys and values for a batch with these images."""
        pooled = torch.stack([self._pooled(m) for m in pictures.maps]).to(self.e1.dtype)
        prompt = self.beta * self.phi(pooled)
        keys, values = F.silu(prompt + self.e1), prompt + self.e2
        size, most = len(self.e1), max(places.counts)
        dropped = [int(self.drop_ratio * n * size) for n in places.counts]
        filled = torch.tensor(places.counts, device=keys.device) * size
        return Shared(
            _by_row(keys, places, most),
            _by_row(values, places, most),
            torch.arange(most * size, device=keys.device) < filled.unsqueeze(1),
            torch.tensor(dropped, device=keys.device),
            max(dropped),
        )

    def tokens(self, pictures: Pictures) -> Tensor:
        """One token [n, hidden] for each image, for mode ``replace``."""
        return self.cls_phi(pictures.wholes.to(self.e1.dtype))

    def _pooled(self, features: Tensor) -> Tensor:
        """Features [width, rows, columns] at all scales, [S, width]."""
        scales = [F.adaptive_avg_pool2d(features, side).flatten(1) for side in self.sides]
        return torch.cat(scales, 1).T


def _by_row(of_pictures: Tensor, places: Places, most: int) -> Tensor:
    """[n, S, hidden] of images as [rows, most * S, hidden], zeros where a row has fewer images."""
    of_rows = of_pictures.new_zeros(len(places.counts), most, *of_pictures.shape[1:])
    taken = of_pictures[places.picture]
    return of_rows.index_put((places.row, places.slot), taken).flatten(1, 2)


def _projection(width: int, middle: int, hidden: int) -> nn.Sequential:
    phi = nn.Sequential(nn.Linear(width, middle), nn.SiLU(), nn.Linear(middle, hidden))
    for linear in (phi[0], phi[2]):
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
    return phi
