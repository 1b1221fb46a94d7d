"""A plain LoRA of a fixed route, for servers that know no MixLoRA, and how far off it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from adaptinf.adapters.mixlora.layer import MixLoraLinear
from adaptinf.adapters.mixlora.mixture import Mixture
from adaptinf.adapters.mixlora.routing import Choice
from adaptinf.adapters.mixlora.statistics import placed_mixtures, routes_of
from adaptinf.errors import UserError, suggestion

Batch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FrozenRoute:
    """What ``freeze_route`` made: a LoRA of ``rank``, from ``rows`` rows, by ``how``.

    ``error`` is the measured ``|mixlora - frozen| / |mixlora - base|`` over the logits of all
    tokens of these rows: 0 is the same model, 1 as far off as having no adapter.
    """

    how: str
    rank: int
    rows: int
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class _Frozen:
    """LoRA's matrices for one module: ``a`` [rank, in], ``b`` [out, rank]."""

    a: Tensor
    b: Tensor


def freeze_route(
    model: PeftModel, folder: Path, batches: Sequence[Batch], *, how: str = "mean"
) -> FrozenRoute:
    """Write the active MixLoRA adapter as a stock LoRA folder, and say what that costs.

    ``batches`` are model inputs of the rows whose routes count. ``how="mean"`` is the mean update
    of these rows: with ``C[j, k]`` the share of rows that pair B factor j with A factor k it is
    ``alpha/rank P_B^T C P_A``, a LoRA of rank ``num_experts``, exact where all rows agree and else
    the nearest single update in squares. ``how="majority"`` is each module's most frequent choice,
    of the adapter's own rank, exact for rows that have it everywhere. The error also goes into
    ``frozen_route.json``.

    Raises:
        UserError: another kind of adapter, no rows, or an unknown ``how``.
    """
    if how not in _UPDATES:
        raise UserError("unknown way to fix a route", seen=how, hint=suggestion(how, _UPDATES))
    if not any(placed_mixtures(model)) or not batches:
        raise UserError("no active MixLoRA adapter, or no rows", hint="give both to freeze_route")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            routes = _joined(_routes(model, batch) for batch in batches)
            updates = {
                placed.name: _UPDATES[how](placed.mixture, routes[placed.name])
                for placed in placed_mixtures(model)
            }
            error = _error(model, updates, batches)
    finally:
        for module, training in modes:
            module.training = training
    rank = len(next(iter(updates.values())).a)
    frozen = FrozenRoute(how, rank, len(next(iter(routes.values())).a), error)
    _write(model, updates, rank, folder)
    (folder / "frozen_route.json").write_text(json.dumps(asdict(frozen), indent=2) + "\n")
    return frozen


def _routes(model: PeftModel, batch: Batch) -> dict[str, Choice]:
    model(**batch)
    return routes_of(model)


def _joined(parts: Any) -> dict[str, Choice]:
    """The choices of several batches as those of one."""
    routes = list(parts)
    return {
        name: Choice(
            torch.cat([route[name].a for route in routes]),
            torch.cat([route[name].b for route in routes]),
        )
        for name in routes[0]
    }


def _mean_update(mixture: Mixture, choice: Choice) -> _Frozen:
    experts = len(mixture.pool_a)
    pairs = (choice.b * experts + choice.a).flatten()
    counts = torch.bincount(pairs, minlength=experts * experts).view(experts, experts)
    shares = (counts / len(choice.a)).to(mixture.pool_a.dtype)
    return _Frozen(shares @ mixture.pool_a, mixture.pool_b.T)


def _majority_update(mixture: Mixture, choice: Choice) -> _Frozen:
    both = torch.cat([choice.a, choice.b], 1)
    kinds, counts = both.unique(dim=0, return_counts=True)
    a, b = kinds[counts.argmax()].chunk(2)
    return _Frozen(mixture.pool_a[a], mixture.pool_b[b].T)


_UPDATES: dict[str, Callable[[Mixture, Choice], _Frozen]] = {
    "mean": _mean_update,
    "majority": _majority_update,
}


def _error(model: PeftModel, updates: Mapping[str, _Frozen], batches: Sequence[Batch]) -> float:
    off = whole = 0.0
    for batch in batches:
        mixed = _logits(model, batch)
        off += _squares(mixed - _fixed_logits(model, batch, updates), batch)
        whole += _squares(mixed - _fixed_logits(model, batch, {}), batch)
    return (off / whole) ** 0.5 if whole else 0.0


def _logits(model: PeftModel, batch: Batch) -> Tensor:
    logits: Tensor = model(**batch).logits
    return logits.double()


def _fixed_logits(model: PeftModel, batch: Batch, updates: Mapping[str, _Frozen]) -> Tensor:
    """Logits with these updates in place of the mixtures; modules without one have none."""
    with ExitStack() as stack:
        for placed in placed_mixtures(model):
            hook = _fixed(updates.get(placed.name), placed.mixture.scaling)
            stack.callback(placed.layer.register_forward_hook(hook).remove)
        return _logits(model, batch)


def _fixed(update: _Frozen | None, scaling: float) -> Callable[..., Tensor]:
    def hook(layer: MixLoraLinear, args: tuple[Tensor, ...], _: Tensor) -> Tensor:
        result: Tensor = layer.base_layer(*args)
        if update is None:
            return result
        x = args[0].to(update.a.dtype)
        return result + (x @ update.a.T @ update.b.T * scaling).to(result.dtype)

    return hook


def _squares(values: Tensor, batch: Batch) -> float:
    squares = values.square().sum(-1)
    mask = batch.get("attention_mask")
    return float((squares if mask is None else squares * mask.to(squares)).sum())


def _write(model: PeftModel, updates: Mapping[str, _Frozen], rank: int, folder: Path) -> None:
    config = model.peft_config[model.active_adapter]
    plain = LoraConfig(
        r=rank,
        lora_alpha=config.scaling * rank,
        target_modules=config.target_modules,
        exclude_modules=config.exclude_modules,
        modules_to_save=config.modules_to_save,
        base_model_name_or_path=config.base_model_name_or_path,
        task_type=config.task_type,
        inference_mode=True,
    )
    plain.save_pretrained(str(folder))
    saved = get_peft_model_state_dict(
        model, adapter_name=model.active_adapter, save_embedding_layers=False
    )
    tensors = {key: value for key, value in saved.items() if ".mixlora_" not in key}
    for name, update in updates.items():
        tensors[f"{name}.lora_A.weight"] = update.a
        tensors[f"{name}.lora_B.weight"] = update.b
    save_file(
        {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
