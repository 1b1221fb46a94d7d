"""Folders of LoRA and DoRA as LLaVA's code and DoRA's write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig
from torch import Tensor

from adaptinf.adapters.originals.files import read_tensors
from adaptinf.adapters.originals.names import (
    PROJECTOR,
    Projector,
    is_projector,
    of_transformers,
    pattern_of,
    projector_of,
    unwrapped,
    wrapped,
)
from adaptinf.errors import UserError
from adaptinf.files import read_object

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_BESIDE = "non_lora_trainables.bin"
_LENGTHS = re.compile(r"(.+)\.weight_m_wdecomp(?:\.default)?\.weight")
_MATRIX = re.compile(r"(.+)\.(lora_[AB])(?:\.default)?\.weight")


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """An adapter in PEFT's terms: its configuration, and tensors by the names of its file.

    ``activation`` is that of the projector it was trained with, None if that was not trained.
    """

    config: PeftConfig
    tensors: dict[str, Tensor]
    activation: str | None = None

    @property
    def route(self) -> str:
        """What it is among this project's routes."""
        if getattr(self.config, "use_dora", False):
            return "dora"
        return str(self.config.peft_type.value).lower()


def is_low_rank(folder: Path) -> bool:
    """Whether a folder is of this kind."""
    return (folder / "adapter_config.json").is_file()


def read_low_rank(folder: Path) -> Adapter:
    """LoRA or DoRA on the text layers, with the projector if that was trained.

    DoRA's lengths are in either of its files: its LLaVA trainer looked for them under another name,
    and so left them among what is not LoRA.

    Raises:
        UserError: files that are missing or hold something else, or settings that PEFT has not.
    """
    told = read_object(folder / "adapter_config.json")
    _require_plain(told, folder)
    found = {unwrapped(k): v for k, v in read_tensors(_weights(folder)).items()}
    if (folder / _BESIDE).is_file():
        beside = read_tensors(folder / _BESIDE)
        found |= {unwrapped(key): value for key, value in beside.items()}
    projector = None
    if any(map(is_projector, found)):
        projector = projector_of(found, str(folder / _BESIDE))
        found = {key: value for key, value in found.items() if not is_projector(key)}
    dora = told.get("peft_type") == "DORA" or told.get("use_dora") is True
    tensors = dict(_renamed(key, value) for key, value in found.items())
    return _adapter(told, tensors, dora, projector, folder)


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"none of {', '.join(_WEIGHTS)} here", where=str(folder))


def _require_plain(told: dict[str, Any], folder: Path) -> None:
    where = str(folder / "adapter_config.json")
    if told.get("peft_type") not in ("LORA", "DORA"):
        raise UserError("neither LoRA nor DoRA", where=where, seen=told.get("peft_type"))
    for key in ("rank_pattern", "alpha_pattern", "wdecompose_target_modules", "fan_in_fan_out"):
        if told.get(key):
            raise UserError(
                "a setting that is not carried over", where=f"{where}: {key}", seen=told[key]
            )
    for key in ("r", "lora_alpha"):
        if not isinstance(told.get(key), int | float) or told[key] <= 0:
            raise UserError("not a positive number", where=f"{where}: {key}", seen=told.get(key))


def _renamed(key: str, value: Tensor) -> tuple[str, Tensor]:
    """A tensor under the name that PEFT's file has for it; lengths [out, 1] become [out]."""
    if match := _LENGTHS.fullmatch(key):
        return f"{_module(match[1])}.lora_magnitude_vector", value.flatten()
    if match := _MATRIX.fullmatch(key):
        return f"{_module(match[1])}.{match[2]}.weight", value
    return wrapped(key), value


def _module(name: str) -> str:
    return wrapped(of_transformers(name) or name)


def _adapter(
    told: dict[str, Any],
    tensors: dict[str, Tensor],
    dora: bool,
    projector: Projector | None,
    folder: Path,
) -> Adapter:
    modules = [
        unwrapped(key).removesuffix(".lora_A.weight")
        for key in tensors
        if key.endswith(".lora_A.weight")
    ]
    if not modules:
        raise UserError("no LoRA matrices here", where=str(folder))
    lengths = sum(key.endswith(".lora_magnitude_vector") for key in tensors)
    if dora and lengths != len(modules):
        raise UserError(
            "DoRA without the lengths of its rows",
            where=str(folder),
            seen=f"{lengths} of {len(modules)}",
            hint=f"{_BESIDE} has them, beside the adapter's file",
        )
    config = LoraConfig(
        r=int(told["r"]),
        lora_alpha=told["lora_alpha"],
        lora_dropout=float(told.get("lora_dropout") or 0.0),
        target_modules=pattern_of(modules),
        modules_to_save=[PROJECTOR] if projector else None,
        use_dora=dora,
        use_rslora=told.get("use_rslora") is True,
        bias="none",
    )
    if projector:
        tensors = tensors | {wrapped(key): value for key, value in projector.tensors.items()}
    return Adapter(config, tensors, projector.activation if projector else None)
