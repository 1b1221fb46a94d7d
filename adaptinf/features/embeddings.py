"""Embeddings of rows: mean states over some of their tokens, of one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from adaptinf.errors import UserError
from adaptinf.features.inputs import Batch
from adaptinf.features.tokens import AnswerTokens
from adaptinf.models.parts import layer_index

Tokens = Literal["answer", "text", "image"]


class Embeddings:
    """Mean states over a row's tokens of one kind.

    ``answer``: the positions that predict answer tokens; ``text``: all that are no image;
    ``image``: those of images. A row without such tokens has zeros.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        image_token: int,
        tokens: Tokens,
        layer: int | float | str,
    ) -> None:
        """Embeddings from ``layer``; ``last`` are the states that logits are made from.

        Raises:
            UserError: there is no such layer, or no such kind of tokens.
        """
        if tokens not in get_args(Tokens):
            hint = f"give {', '.join(get_args(Tokens))}"
            raise UserError("no such tokens", where="embeddings", seen=tokens, hint=hint)
        self._tokens = tokens
        self._image_token = image_token
        self._layer = None if layer == "last" else layers[layer_index(layer, len(layers))]
        self._heard: Tensor | None = None

    def mask(self, rows: Batch) -> Tensor:
        """Where the tokens are [b, T]."""
        if self._tokens == "answer":
            return AnswerTokens.of(rows.labels).read
        images = rows.inputs["input_ids"] == self._image_token
        return images if self._tokens == "image" else rows.inputs["attention_mask"].bool() & ~images

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The layer's states are kept inside; the newest are the ones that count."""
        hook = None if self._layer is None else self._layer.register_forward_hook(self._hear)
        try:
            yield
        finally:
            if hook:
                hook.remove()

    def means(self, hidden: Tensor | None, mask: Tensor) -> Tensor:
        """The embeddings [b, h] in float32, of the layer heard or of last states [b, T, h]."""
        heard, self._heard = self._heard, None
        states = hidden if heard is None else heard
        if states is None:
            raise ValueError("no states were heard, and none given")
        kept = torch.where(mask[:, :, None], states.detach().float(), 0.0)
        return kept.sum(1) / mask.sum(1).clamp_min(1)[:, None]

    def _hear(self, _: nn.Module, args: Any, output: Any) -> None:
        self._heard = (output[0] if isinstance(output, tuple) else output).detach()
