"""Take an adapter off a model again, or make it part of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from peft import PeftModel
from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel


def detach(model: PeftModel) -> PreTrainedModel:
    """The base model as it was before it had an adapter.

    PEFT's own ``unload`` leaves the trained copies of modules that are trained themselves in the
    base model, and stops at those that are no linear modules (0.21.2).
    """
    _replace_whole(model, lambda module: module.original_module)
    return cast("PreTrainedModel", model.unload())


def merge(model: PeftModel) -> PreTrainedModel:
    """The base model with the active adapter in its weights, which then answers as the adapter did.

    Raises:
        UserError: the adapter's update is not the same for all rows.
    """
    model.base_model._check_merge_allowed()
    _replace_whole(model, lambda module: module.modules_to_save[model.active_adapter])
    return cast("PreTrainedModel", model.merge_and_unload())


def _replace_whole(model: PeftModel, by: Callable[[ModulesToSaveWrapper], nn.Module]) -> None:
    """Put something else in the place of each wrapper of a module that is trained itself."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ModulesToSaveWrapper):
                setattr(parent, name, by(child))
