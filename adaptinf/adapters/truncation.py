"""DoRA as plain LoRA, for servers that know no other, and how far off it is."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from adaptinf.errors import UserError


def truncate_dora(model: PeftModel, folder: Path, rank: int) -> float:
    """Write the active DoRA adapter as a stock LoRA folder of ``rank``; returns the error.

    A DoRA update ``W' - W`` has full rank, for it gives every row of W another length. Each module
    gets the nearest update of ``rank`` in squares, by singular values. The error is
    ``|kept - W' + W| / |W' - W|`` over all modules, 0 for the same model; it also goes into
    ``truncation.json``. Modules that are trained themselves are written as they are.

    Raises:
        UserError: another kind of adapter.
    """
    name = model.active_adapter
    config = model.peft_config[name]
    if not getattr(config, "use_dora", False):
        raise UserError("no active DoRA adapter", seen=config.peft_type, hint="load one of DoRA")
    saved = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    tensors = {key: value for key, value in saved.items() if ".lora_" not in key}
    off = whole = 0.0
    for key, module in model.named_modules():
        if isinstance(module, LoraLayer):
            update = _update(module)
            a, b, error = _nearest(update, rank)
            tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"] = a, b
            off, whole = off + error, whole + float(update.square().sum())
    LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=config.target_modules,
        modules_to_save=config.modules_to_save,
        base_model_name_or_path=config.base_model_name_or_path,
        inference_mode=True,
    ).save_pretrained(str(folder))
    save_file(
        {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    left = (off / whole) ** 0.5 if whole else 0.0
    (folder / "truncation.json").write_text(json.dumps({"rank": rank, "error": left}) + "\n")
    return left


@torch.no_grad()
def _update(module: LoraLayer) -> Tensor:
    """``W' - W`` [out, in] in float64; the module is as it was afterwards."""
    weight = module.get_base_layer().weight
    before = weight.detach().clone()
    module.merge(safe_merge=True)
    update = weight.detach().double() - before.double()
    weight.copy_(before)
    module.merged_adapters.clear()
    return update


def _nearest(update: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """LoRA's matrices ``a`` [rank, in] and ``b`` [out, rank], and the squares that are lost."""
    u, s, v = torch.linalg.svd(update, full_matrices=False)
    root = s[:rank].sqrt()
    a = (root.unsqueeze(1) * v[:rank]).float()
    b = (u[:, :rank] * root).float()
    if len(root) < rank:
        a = torch.cat([a, a.new_zeros(rank - len(root), a.shape[1])])
        b = torch.cat([b, b.new_zeros(len(b), rank - len(root))], 1)
    return a, b, float(s[rank:].square().sum())
