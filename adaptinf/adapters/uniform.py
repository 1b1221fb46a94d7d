"""A LoRA whose modules have ranks and scales of their own, as one of a single rank and scale.

Servers read ``r`` and ``lora_alpha`` and no patterns, and so would scale other modules wrongly
without a word.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file

_WEIGHTS = "adapter_model.safetensors"
_A, _B = ".lora_A.weight", ".lora_B.weight"


def write_uniform(folder: Path, out: Path) -> int:
    """Write a LoRA folder again with its highest rank everywhere; returns that.

    Matrices are filled up with zeros, and what a module's scale has more or less than the common
    one goes into its B. Without patterns the folder is copied.
    """
    config = LoraConfig.from_pretrained(str(folder))
    shutil.copytree(folder, out, dirs_exist_ok=True)
    if not config.rank_pattern and not config.alpha_pattern:
        return int(config.r)
    tensors = load_file(folder / _WEIGHTS)
    modules = [key.removesuffix(_A) for key in tensors if key.endswith(_A)]
    highest = max(len(tensors[module + _A]) for module in modules)
    common = _scale(config, config.lora_alpha, highest)
    for module in modules:
        a, b = tensors[module + _A], tensors[module + _B]
        alpha = _of(config.alpha_pattern, module, config.lora_alpha)
        more = highest - len(a)
        tensors[module + _A] = torch.cat([a, a.new_zeros(more, a.shape[1])])
        scaled = b * (_scale(config, alpha, len(a)) / common)
        tensors[module + _B] = torch.cat([scaled, b.new_zeros(len(b), more)], 1)
    save_file(tensors, out / _WEIGHTS, metadata={"format": "pt"})
    file = out / "adapter_config.json"
    told = json.loads(file.read_text()) | {"r": highest, "rank_pattern": {}, "alpha_pattern": {}}
    file.write_text(json.dumps(told, indent=2) + "\n")
    return highest


def _of(pattern: dict[str, Any], module: str, otherwise: float) -> float:
    """What PEFT takes for a module: the value of the first pattern that fits its name."""
    name = module.removeprefix("base_model.model.")
    key = get_pattern_key(list(pattern), name)
    return float(pattern.get(key, otherwise))


def _scale(config: LoraConfig, alpha: float, rank: int) -> float:
    return float(alpha / (rank**0.5 if config.use_rslora else rank))
