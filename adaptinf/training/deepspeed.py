"""What is to be done about a model that DeepSpeed has trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def whole(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, parameters that ZeRO-3 keeps in parts are whole, to be read; all ranks come here."""
    parts = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not parts:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parts):
        yield


def forget_configuration() -> None:
    """Models that are loaded from here on are whole, though the last training was of parts.

    Transformers asks a configuration that it remembers, and Accelerate holds it to the end.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
