"""Put a foreign adapter on its base model: every tensor has its place, and it has an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import PreTrainedModel

from adaptinf.adapters.originals.files import require_same
from adaptinf.adapters.originals.low_rank import Adapter
from adaptinf.errors import UserError

Batch = Mapping[str, Any]


def put_on(base: PreTrainedModel, adapter: Adapter, batch: Batch, where: str) -> PeftModel:
    """The base model with the adapter, which answers ``batch`` otherwise than the base alone.

    Raises:
        UserError: tensors are missing, left over or of another shape, the projector is of another
            kind, or nothing changes.
    """
    activation = getattr(base.config, "projector_hidden_act", None)
    if adapter.activation and adapter.activation != activation:
        raise UserError(
            "the adapter's projector is of another kind than the base model's",
            where=where,
            seen=f"{adapter.activation}, where the base has {activation}",
            hint="import a base with the projector of its authors' first stage",
        )
    try:
        model = get_peft_model(base, adapter.config)
    except ValueError as error:
        raise UserError(
            "the base model has not the modules of the adapter", where=where, seen=str(error)[:200]
        ) from error
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    require_same(expected, adapter.tensors, where, "give the base that it was trained on")
    set_peft_model_state_dict(model, adapter.tensors)
    model.eval()
    if not effect(model, batch):
        raise UserError(
            "the adapter changes nothing on this base model",
            where=where,
            hint="its matrices B may be zero, as they are before training",
        )
    return model


@torch.no_grad()
def effect(model: PeftModel, batch: Batch) -> float:
    """Largest difference of a logit that the active adapter makes.

    Raises:
        UserError: a logit is no number.
    """
    adapted = model(**batch).logits.float()
    with model.disable_adapter():
        alone = model(**batch).logits.float()
    if not (adapted.isfinite().all() and alone.isfinite().all()):
        raise UserError("logits that are no numbers")
    return float((adapted - alone).abs().max())
