"""A cheap first look at rows: what an early layer of the text model makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptinf.features.embeddings import Embeddings, Tokens
from adaptinf.features.inputs import Batch, BatchLayout
from adaptinf.features.sketch import random_signs
from adaptinf.features.taps import scoring_mode
from adaptinf.models.backbone import Backbone
from adaptinf.models.parts import bare_model, layer_index, running_layers

EARLY = 0.25
_KINDS: tuple[Tokens, ...] = ("text", "image")


class Glance:
    """Embeddings of rows from a forward pass that ends a quarter of the way up the text model.

    A row's mean state over its text tokens and that over its image tokens, each of length 1 (zeros
    without such tokens), side by side; projected by seeded random signs where they are longer than
    ``dim``. No later layer runs, no logits and no gradients are made.
    """

    def __init__(
        self, model: nn.Module, dim: int, seed: int, layer: int | float | str = EARLY
    ) -> None:
        """The first look of a model, as far as ``layer``.

        Raises:
            UserError: the model lacks a part that is needed, or the layer.
        """
        layers = running_layers(model)
        self.layer = layer_index(layer, len(layers))
        self._model = bare_model(model)
        self._backbone = Backbone(model)
        self._stop = layers[self.layer]
        token = BatchLayout.of(model).image_token
        self._means = [Embeddings(layers, token, kind, self.layer) for kind in _KINDS]
        width = len(_KINDS) * self._model.config.get_text_config().hidden_size
        self._map = projection(width, dim, seed) if width > dim else None
        self.width = min(width, dim)

    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        """Embeddings [b, ``width``] in float32, on the CPU, of what a processor gives."""
        rows = Batch.on(self._model, batch)
        with scoring_mode(self._model), torch.no_grad(), ExitStack() as stack:
            for means in self._means:
                stack.enter_context(means.listening())
            with _ended_after(self._stop):
                self._backbone(rows.inputs)
            parts = [means.means(None, means.mask(rows)) for means in self._means]
        whole = torch.cat([functional.normalize(part, dim=1) for part in parts], 1).cpu()
        return whole if self._map is None else whole @ self._map


class _EndedError(Exception):
    """The layer that was waited for has run."""


@contextmanager
def _ended_after(layer: nn.Module) -> Iterator[None]:
    """A forward pass inside ends with the layer."""

    def end(*_: Any) -> None:
        raise _EndedError

    hook = layer.register_forward_hook(end)
    try:
        yield
    except _EndedError:
        pass
    finally:
        hook.remove()


def projection(width: int, dim: int, seed: int) -> Tensor:
    """Random signs [width, dim], scaled to keep inner products in expectation."""
    return random_signs(np.random.default_rng(seed), (width, dim)) / dim**0.5
