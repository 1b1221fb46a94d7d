"""Tell adapters that look at prompts where these end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor, nn


class PromptReader(Protocol):
    """What an adapter's layers have as ``routing`` if the prompt of a row changes what they do."""

    def knowing(self, labels: Tensor | None) -> AbstractContextManager[None]:
        """Inside, ``labels`` [rows, tokens] tell where prompts end, if the model is not told."""


def prompts_of(model: nn.Module, labels: Tensor | None) -> AbstractContextManager[None]:
    """Inside, ``labels`` [rows, tokens] tell MixLoRA where prompts end, if the model is not told.

    For callers that go past the model's head, which is where labels are usually given, and for
    losses that are computed outside of the model. Does nothing on a model without MixLoRA.
    """
    reader = prompt_reader(model)
    return nullcontext() if reader is None else reader.knowing(labels)


def prompt_reader(model: nn.Module) -> PromptReader | None:
    """What of a model's adapters reads prompts, if anything does."""
    readers = (getattr(module, "routing", None) for module in model.modules())
    return next((reader for reader in readers if hasattr(reader, "knowing")), None)
