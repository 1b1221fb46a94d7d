"""MixLoRA's checkpoints: whole state dicts of a model with its factors and routers in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from adaptinf.adapters.mixlora import MixLoraConfig
from adaptinf.adapters.originals.low_rank import Adapter
from adaptinf.adapters.originals.names import (
    PROJECTOR,
    is_projector,
    of_transformers,
    pattern_of,
    projector_of,
    unwrapped,
    wrapped,
)
from adaptinf.errors import UserError

_FACTOR = re.compile(r"(.+)\.lora_([AB])\.default\.(\d+)")
_ROUTER = re.compile(r"(.+)\.(?:cmoa_selector|cmoa_loarB_extra_selector)\.(\w+)\.weight")
_CHOOSING_BY_FACTOR = "loraA_param2loraB_selector"


@dataclass(frozen=True, slots=True, eq=False)
class MixtureCheckpoint:
    """The adapter, and the ``frozen`` weights below it, by Transformers' names."""

    adapter: Adapter
    frozen: dict[str, Tensor]


@dataclass(slots=True, eq=False)
class _Parts:
    """What one module has: factors by pool and number, routers by the authors' names."""

    factors: dict[str, dict[int, Tensor]] = field(default_factory=lambda: {"A": {}, "B": {}})
    routers: dict[str, Tensor] = field(default_factory=dict)


def is_mixture(names: Mapping[str, Tensor]) -> bool:
    """Whether tensors are of such a checkpoint."""
    return any(_FACTOR.fullmatch(key) for key in names)


def mixture_of(
    tensors: Mapping[str, Tensor],
    folder: Path,
    rank: int | None = None,
    alpha: float | None = None,
) -> MixtureCheckpoint:
    """A checkpoint of the authors' code (VT-NLP/MixLoRA), as they publish it, from ``folder``.

    Its settings are beside it in a pickle of a class of theirs, which is not read: numbers of
    experts, and with conditional selection the ``rank``, are in the shapes; otherwise the rank is
    to be given. ``alpha`` is 2 E, as in their scripts, if it is not given. Its routers never
    learned, so they come as frozen ones.

    Raises:
        UserError: a variant that is not known here, or the rank is wanting.
    """
    parts: dict[str, _Parts] = defaultdict(_Parts)
    rest = {}
    for key, value in tensors.items():
        name = unwrapped(key)
        if match := _FACTOR.fullmatch(name):
            parts[match[1]].factors[match[2]][int(match[3])] = value
        elif match := _ROUTER.fullmatch(name):
            parts[match[1]].routers[match[2]] = value
        else:
            rest[name] = value
    projector = projector_of(rest, str(folder)) if any(map(is_projector, rest)) else None
    named: dict[str, Tensor] = {}
    experts, ranks = set(), set()
    for module, found in parts.items():
        pools = {side: _pool(found.factors[side], module, folder) for side in "AB"}
        experts.add(len(pools["A"]))
        mixture = _mixture(found.routers, pools, module, folder)
        if "router_ab" in mixture:
            ranks.add(len(mixture["router_ab"]))
        stem = wrapped(of_transformers(module) or module)
        named |= {f"{stem}.mixlora_factors.{key}": value for key, value in mixture.items()}
    config = MixLoraConfig(
        target_modules=pattern_of([of_transformers(module) or module for module in parts]),
        modules_to_save=[PROJECTOR] if projector else None,
        num_experts=_only(experts, "numbers of experts", folder),
        rank=_rank(ranks, rank, folder),
        alpha=alpha,
        routing="input_lora_a_param" if ranks else "input",
        routers="frozen",
        conditional_again=bool(ranks),
    )
    if projector:
        named |= {wrapped(key): value for key, value in projector.tensors.items()}
    below = ((of_transformers(k), v) for k, v in rest.items() if not is_projector(k))
    adapter = Adapter(config, named, projector.activation if projector else None)
    return MixtureCheckpoint(adapter, {k: v for k, v in below if k is not None})


def require_below(frozen: Mapping[str, Tensor], base: nn.Module, where: str) -> None:
    """That the weights below an adapter are those of the base model, rounding apart.

    A vocabulary that was filled up may be longer than the checkpoint's.

    Raises:
        UserError: some are not, or the base model has no such tensors.
    """
    own = base.state_dict()
    unknown = [key for key in frozen if key not in own]
    other = [key for key in frozen if key in own and not _same(frozen[key], own[key])]
    for what, keys in (("has not", unknown), ("has otherwise", other)):
        if keys:
            raise UserError(
                f"the checkpoint has another base model: {len(keys)} tensors that --base {what}",
                where=where,
                seen=", ".join(keys[:3]),
                hint="put together the base from the Vicuna and the CLIP of the authors' scripts",
            )


def _same(stored: Tensor, own: Tensor) -> bool:
    own = own.cpu()[: len(stored)] if stored.ndim else own.cpu()
    if stored.shape != own.shape:
        return False
    return torch.equal(stored.to(own.dtype), own) or torch.equal(own.to(stored.dtype), stored)


def _pool(factors: Mapping[int, Tensor], module: str, folder: Path) -> Tensor:
    """Factors [experts, width] in their order."""
    rows = [factors[number] for number in sorted(factors)]
    single = all(row.ndim == 2 and len(row) == 1 for row in rows)
    if not rows or sorted(factors) != list(range(len(rows))) or not single:
        raise UserError(
            "a module whose factors are no two pools of single rows",
            where=f"{folder}: {module}",
            hint="checkpoints with mix_start_layer or without mix_loraA have no such route here",
        )
    return torch.cat(rows)


def _mixture(
    routers: Mapping[str, Tensor], pools: Mapping[str, Tensor], module: str, folder: Path
) -> dict[str, Tensor]:
    """Pools and routers by this project's names."""
    known = {"loraA_selector", "loraB_selector", _CHOOSING_BY_FACTOR}
    if not {"loraA_selector", "loraB_selector"} <= set(routers) <= known:
        raise UserError(
            "routers of a kind that is not known here",
            where=f"{folder}: {module}",
            seen=", ".join(sorted(routers)) or "none",
            hint="known are cond_type input and input_lora_a_param",
        )
    made = {
        "pool_a": pools["A"],
        "pool_b": pools["B"],
        "router_a": routers["loraA_selector"],
        "router_b": routers["loraB_selector"],
    }
    if _CHOOSING_BY_FACTOR in routers:
        weight, width = routers[_CHOOSING_BY_FACTOR], pools["A"].shape[1]
        made["router_ab"] = weight.unflatten(1, (-1, width)).transpose(0, 1).contiguous()
    return made


def _only(found: set[int], what: str, folder: Path) -> int:
    if len(found) != 1:
        raise UserError(f"several {what} in one checkpoint", where=str(folder), seen=sorted(found))
    return found.pop()


def _rank(found: set[int], given: int | None, folder: Path) -> int:
    if len(found) > 1:
        raise UserError("several ranks in one checkpoint", where=str(folder), seen=sorted(found))
    told = next(iter(found), given)
    if told is None or (given is not None and given != told):
        raise UserError(
            "how many factors does a row use?" if told is None else "another rank than given",
            where=str(folder),
            seen=told,
            hint="give --rank; finetune_mixlora.sh was called with it: cond_type, experts, rank",
        )
    return told
