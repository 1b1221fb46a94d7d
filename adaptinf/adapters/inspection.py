"""What is in an adapter's folder: kind, size by part of the model, and what it adds to a token.

Read from the headers of the files; no weight is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from adaptinf.errors import UserError
from adaptinf.files import read_object
from adaptinf.routes import PARTS

_SEEING = r"vision|visual|image_encoder"
_JOINING = r"projector|connector|qformer|language_projection|merger|resampler|aligner"


@dataclass(frozen=True, slots=True)
class Share:
    """What is on one part of the model.

    ``tensors``, ``parameters`` in them, and ``flops``: operations for each token beside the model's
    own, 2 for each number in use. ADEM's attention to images is not among them.
    """

    part: str
    tensors: int
    parameters: int
    flops: int

    @classmethod
    def total(cls, shares: Sequence[Share]) -> Share:
        """Of all parts together."""
        return cls(
            "all",
            sum(share.tensors for share in shares),
            sum(share.parameters for share in shares),
            sum(share.flops for share in shares),
        )


@dataclass(frozen=True, slots=True)
class Inspection:
    """An adapter: its ``route``, base model and settings, its shares by part of the model."""

    route: str
    base: str
    settings: dict[str, Any]
    shares: tuple[Share, ...]
    lineage: dict[str, Any]

    @property
    def parameters(self) -> int:
        """Numbers that were trained."""
        return Share.total(self.shares).parameters


def inspect_adapter(folder: Path) -> Inspection:
    """Look into a PEFT folder.

    Raises:
        UserError: it is none, or its tensors are not in one file of safetensors.
    """
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            hint = "give a folder such as runs/mine/steps/1-shop/train/adapter"
            raise UserError(f"no {file.name} here", where=str(folder), hint=hint)
    told = read_object(config)
    try:
        with safe_open(weights, "np") as stored:
            shapes = {key: stored.get_slice(key).get_shape() for key in stored.keys()}  # noqa: SIM118
    except Exception as error:
        raise UserError("the adapter's file cannot be read", where=str(weights)) from error
    route = _route(told, shapes)
    used = _used(told, config) if route == "mixlora" else 1.0
    return Inspection(
        route=route,
        base=str(told.get("base_model_name_or_path")),
        settings=told,
        shares=tuple(_share(part, shapes, used) for part in PARTS),
        lineage=read_object(folder / "lineage.json"),
    )


def _used(told: dict[str, Any], file: Path) -> float:
    """The part of MixLoRA's factors that a row uses."""
    rank, experts = told.get("rank"), told.get("num_experts")
    if not (isinstance(rank, int) and isinstance(experts, int) and experts > 0):
        raise UserError("MixLoRA without its rank and num_experts", where=str(file))
    return rank / experts


def _route(told: dict[str, Any], shapes: dict[str, list[int]]) -> str:
    kind = str(told.get("peft_type", "unknown")).lower()
    if kind != "lora":
        return kind
    if not any(".lora_" in key for key in shapes):
        return "full"
    return "dora" if told.get("use_dora") else "lora"


def _share(part: str, shapes: dict[str, list[int]], used: float) -> Share:
    mine = {key: math.prod(shape) for key, shape in shapes.items() if _part(key) == part}
    # Modules that are trained themselves, and DoRA's lengths, stand in place of the model's own.
    beside = sum(
        used * count if "mixlora_" in key else count
        for key, count in mine.items()
        if re.search(r"lora_[AB]|mixlora_|adem_bottleneck", key)
    )
    return Share(part, len(mine), sum(mine.values()), round(2 * beside))


def _part(key: str) -> str:
    """Of a tensor's name; a connector may be inside of what sees."""
    if re.search(_JOINING, key):
        return "connector"
    return "vision" if re.search(_SEEING, key) else "text"
