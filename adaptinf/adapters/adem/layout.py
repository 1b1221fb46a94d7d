"""Mode ``replace``: the sequence without image tokens, inside of the decoder only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptinf.adapters.adem.prompt import Places
from adaptinf.errors import UserError
from adaptinf.models.caches import cache_in


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How the tokens of a prompt [rows, T] stand in the shorter sequence [rows, t].

    ``order`` [rows, t] int64 are the places they come from, ``kept`` [rows, t] bool says which of
    them are not filling for rows that keep less than t, ``mask`` [rows, t] int64 which are attended
    to. Filling stands at the end and is not.
    """

    order: Tensor
    kept: Tensor
    mask: Tensor
    length: int
    """T."""

    def shortened(self, arguments: dict[str, Any], places: Places, tokens: Tensor) -> None:
        """Have the decoder's ``arguments`` say the shorter sequence, ``tokens`` for its images."""
        states = arguments["inputs_embeds"]
        tokens = tokens[places.picture].to(states.dtype)
        states = states.index_put((places.row, places.column), tokens)
        arguments["inputs_embeds"] = states.gather(1, _wide(self.order, states))
        arguments["attention_mask"] = self.mask
        arguments["position_ids"] = _positions(self.mask)

    def continued(self, arguments: dict[str, Any]) -> None:
        """Have them say how tokens after the prompt follow the shorter sequence."""
        states = arguments["inputs_embeds"]
        mask = arguments.get("attention_mask")
        cache = cache_in(arguments)
        if mask is None and cache is not None:
            whole = int(cache.get_seq_length()) + states.shape[1]
            after = self.mask.new_ones(len(states), whole - self.mask.shape[1])
        else:
            after = _plain(mask, states)[:, self.length :].to(self.mask)
        mask = torch.cat([self.mask, after], 1)
        arguments["attention_mask"] = mask
        arguments["position_ids"] = _positions(mask)[:, -states.shape[1] :]

    def spread(self, states: Tensor) -> Tensor:
        """States [rows, t, hidden] at their tokens' places [rows, T, hidden], elsewhere zeros."""
        whole = states.new_zeros(len(states), self.length, states.shape[2])
        kept = states * self.kept.unsqueeze(2).to(states.dtype)
        return whole.scatter(1, _wide(self.order, states), kept)


def layout_of(images: Tensor, places: Places, attention_mask: Any) -> Layout:
    """The layout of a prompt whose image tokens are ``images`` [rows, T] bool.

    Raises:
        UserError: the mask is not one of rows x tokens.
    """
    keep = ~images
    keep[places.row, places.column] = True
    mask = torch.ones_like(keep) if attention_mask is None else _plain(attention_mask, keep)
    most = int(keep.sum(1).max())
    order = (~keep).long().argsort(dim=1, stable=True)[:, :most]
    kept = keep.gather(1, order)
    return Layout(order, kept, (mask.bool().gather(1, order) & kept).long(), keep.shape[1])


def _plain(mask: Any, like: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != len(like):
        raise UserError(
            "ADEM's mode replace needs an attention mask of rows x tokens",
            where="attention_mask",
            seen=list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__,
            hint="give the mask that the processor makes, and no static cache",
        )
    return mask


def _positions(mask: Tensor) -> Tensor:
    """Positions [rows, t]: text follows on text, as if the images had never been between."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def _wide(order: Tensor, states: Tensor) -> Tensor:
    return order.unsqueeze(2).expand(-1, -1, states.shape[2])
