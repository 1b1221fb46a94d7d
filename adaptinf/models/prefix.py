"""The start of a row as a text decoder remembers it, for many continuations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Keys and values [1, heads, tokens, head size] of every layer, and where the row goes on.

    ``following`` is the position of the next token, which is not the number of ``tokens`` where an
    image takes fewer positions than tokens (Qwen). In bytes it is 2 x layers x key-value heads x
    head size x tokens x those of a number: 0.3 GB for 600 tokens of LLaVA-1.5-7B in bfloat16.
    """

    layers: tuple[CacheLayerMixin, ...]
    tokens: int
    following: int

    @classmethod
    def of(cls, kept: Cache, drift: int) -> Prefix:
        """What a decoder kept of one row, whose next position is ``drift`` off its length."""
        tokens = kept.get_seq_length()
        return cls(tuple(kept.layers), tokens, tokens + drift)

    def cache(self) -> Cache:
        """A cache for one forward pass over continuations of it, as many rows as they may be."""
        return Cache(layers=[_Continued(layer) for layer in self.layers])


class _Continued(DynamicLayer):
    """A layer that gives what it remembers before what is new, and remembers nothing more.

    The library's own layers would hold copies for every row until the pass is over.
    """

    def __init__(self, start: CacheLayerMixin) -> None:
        super().__init__()
        self._start = start
        self.is_sliding = start.is_sliding

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The keys and values of start and continuation, [rows, heads, tokens, head size]."""
        return self._joined(self._start.keys, key_states), self._joined(
            self._start.values, value_states
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys there will be, and how many before them are forgotten."""
        return self._start.get_mask_sizes(query_length)

    def get_seq_length(self) -> int:
        """How many tokens came before."""
        return self._start.get_seq_length()

    @staticmethod
    def _joined(start: Tensor, new: Tensor) -> Tensor:
        return torch.cat([start.expand(len(new), -1, -1, -1), new], dim=2)
