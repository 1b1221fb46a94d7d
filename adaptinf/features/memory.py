"""What to do when a batch does not fit the memory."""

from __future__ import annotations

import gc

import torch

_HOST = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host has refused memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST)


def free_memory() -> None:
    """Give back what is not in use any more."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
