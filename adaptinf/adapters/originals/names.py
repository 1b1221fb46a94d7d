"""Names of tensors in LLaVA's own code, and what Transformers calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptinf.errors import UserError

PROJECTOR = "model.multi_modal_projector"
"""The projector as a module of Transformers' LLaVA."""

_WRAPPED = "base_model.model."
_COMPUTED = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")
_PROJECTOR = re.compile(r"(?:.*\.)?mm_projector\.(.+)")
_TOWER = re.compile(r"model\.vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?(.+)")


def unwrapped(key: str) -> str:
    """A name without what PEFT puts before it."""
    return key.removeprefix(_WRAPPED)


def wrapped(key: str) -> str:
    """A name as PEFT has it in its files."""
    return _WRAPPED + key


def of_transformers(key: str) -> str | None:
    """The name in Transformers' LLaVA of a tensor of LLaVA's, the projector's apart.

    None for what is computed and not loaded; a name that means nothing stays as it is.
    """
    if _COMPUTED.fullmatch(key):
        return None
    if found := _TOWER.fullmatch(key):
        return f"model.vision_tower.{found[1]}"
    if key.startswith("model."):
        return f"model.language_model.{key.removeprefix('model.')}"
    return key


def is_projector(key: str) -> bool:
    """Whether a tensor of LLaVA's belongs to the projector."""
    return _PROJECTOR.fullmatch(key) is not None


@dataclass(frozen=True, slots=True, eq=False)
class Projector:
    """LLaVA's projector as that of Transformers: two linear maps with ``activation`` between."""

    activation: str
    tensors: dict[str, Tensor]


def projector_of(tensors: Mapping[str, Tensor], where: str) -> Projector:
    """The projector among these tensors: LLaVA-1.5's ``mlp2x_gelu``, or the single map before it.

    A single map W becomes W, no activation, and the identity, which is the same to the last bit.

    Raises:
        UserError: it has other layers.
    """
    matches = ((_PROJECTOR.fullmatch(key), value) for key, value in tensors.items())
    found = {match[1]: value for match, value in matches if match}
    if set(found) == {"0.weight", "0.bias", "2.weight", "2.bias"}:
        names = {"0": "linear_1", "2": "linear_2"}
        layers = {f"{names[key[0]]}{key[1:]}": value for key, value in found.items()}
        return Projector("gelu", _inside(layers))
    if set(found) == {"weight", "bias"}:
        width, kind = len(found["weight"]), found["weight"].dtype
        layers = {f"linear_1.{key}": value for key, value in found.items()}
        layers["linear_2.weight"] = torch.eye(width, dtype=kind)
        layers["linear_2.bias"] = torch.zeros(width, dtype=kind)
        return Projector("linear", _inside(layers))
    raise UserError(
        "a projector of another kind than linear or mlp2x_gelu",
        where=where,
        seen=", ".join(sorted(found)[:6]) or "none",
    )


def _inside(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{PROJECTOR}.{name}": tensor for name, tensor in layers.items()}


def pattern_of(modules: Sequence[str]) -> str:
    """One pattern for the whole names of these modules and for no other.

    Layers by number and leaves by name where every layer has the same, else a list.
    """
    leaves: dict[str, dict[str, None]] = {}
    for module in modules:
        found = re.fullmatch(r"(.+\.layers)\.(\d+)\.(.+)", module)
        if found is None:
            return "|".join(map(re.escape, modules))
        leaves.setdefault(f"{found[1]} {found[3]}", {})[found[2]] = None
    stems = {name.split(" ")[0] for name in leaves}
    numbers = {tuple(sorted(found, key=int)) for found in leaves.values()}
    if len(stems) != 1 or len(numbers) != 1:
        return "|".join(map(re.escape, modules))
    ends = "|".join(re.escape(name.split(" ")[1]) for name in sorted(leaves))
    return rf"{re.escape(stems.pop())}\.({'|'.join(numbers.pop())})\.({ends})"
