"""The accelerator: whether torch is built for the one that is here, and what it can compute."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from config import Recipe
from stages.doctor.finding import MODEL_STAGES, Finding

_DRIVER = Path("/proc/driver/nvidia/version")
_NODES = Path("/dev")
_NO_USE = "none, if there is to be no GPU; else let this process see it (driver, container, job)"


def nvidia_driver() -> str | None:
    """The version of NVIDIA's driver, None where there is none."""
    try:
        found = re.search(r"Module\s+(?:for \S+\s+)?(\d[\d.]*)", _DRIVER.read_text())
    except OSError:
        return None
    return found[1] if found else "of an unknown version"


def accelerator() -> Iterator[Finding]:
    """What torch is built for, beside what is here."""
    import torch

    built, driver = torch.version.cuda, nvidia_driver()
    shown = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        yield from _cards(shown)
    elif torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        yield Finding("device", "ok", f"{shown} on {device}", stages=MODEL_STAGES)
    elif driver is None and built is None:
        yield Finding("device", "ok", f"{shown}, for the CPU; no GPU is seen", stages=MODEL_STAGES)
    elif driver is None:
        seen = f"{shown} is built for CUDA {built}, and no GPU is seen: the CPU computes"
        yield Finding("device", "warn", seen, _NO_USE, MODEL_STAGES)
    elif built is None:
        seen = f"{shown} is built for the CPU, beside a GPU with driver {driver}"
        todo = "install a build of torch for CUDA"
        yield Finding("device", "fail", seen, todo, MODEL_STAGES)
    else:
        yield _unusable(shown, built, driver)


def _unusable(shown: str, built: str, driver: str) -> Finding:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        seen = f"CUDA_VISIBLE_DEVICES is {hidden!r}: the GPU is hidden, and the CPU computes"
        return Finding("device", "warn", seen, "unset it to use the GPU", MODEL_STAGES)
    if not any(_NODES.glob("nvidia[0-9]*")):
        seen = f"driver {driver} is loaded, but this process is given no GPU: the CPU computes"
        return Finding("device", "warn", seen, _NO_USE, MODEL_STAGES)
    seen = f"{shown} is built for CUDA {built}, which driver {driver} does not serve"
    todo = "bring the driver up to date, or install a build of torch for an older CUDA"
    return Finding("device", "fail", seen, todo, MODEL_STAGES)


def _cards(shown: str) -> Iterator[Finding]:
    import torch

    built = torch.cuda.get_arch_list()
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        seen = f"{shown}, {card.name} {number}, {card.total_memory / 1e9:.0f} GB"
        kind = f"sm_{card.major}{card.minor}"
        # Code for an older card of the same generation runs, too.
        if any(arch.startswith(f"sm_{card.major}") for arch in built):
            yield Finding("device", "ok", seen, stages=MODEL_STAGES)
        else:
            seen += f" ({kind}); torch has code for {', '.join(built)} alone"
            todo = "install a build of torch for this card"
            yield Finding("device", "fail", seen, todo, MODEL_STAGES)


def number_types(recipe: Recipe) -> Iterator[Finding]:
    """Whether the device computes in the half precision that the recipe asks for."""
    import torch

    asked: list[tuple[str, tuple[str, ...]]] = []
    if recipe.train.bf16:
        asked.append(("train.bf16", ("train",)))
    if recipe.model.dtype in ("bfloat16", "float16"):
        asked.append((f"model.dtype: {recipe.model.dtype}", MODEL_STAGES))
    for key, stages in asked:
        if not torch.accelerator.is_available():
            seen = f"{key}, and no GPU: a CPU takes such numbers, at many times the time"
            todo = "leave it out here, or run where there is a GPU"
            yield Finding("half precision", "warn", seen, todo, stages)
        elif not key.endswith(" float16") and torch.cuda.is_available() and not _has_bfloat16():
            seen = f"{key}, and {torch.cuda.get_device_name()} does not compute in bfloat16"
            todo = "leave it out here; model.dtype: float16 is possible"
            yield Finding("half precision", "fail", seen, todo, stages)
        else:
            yield Finding("half precision", "ok", key, stages=stages)


def _has_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
