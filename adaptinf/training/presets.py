"""DeepSpeed's configurations by short names; the rest of it is filled in by the Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptinf.errors import UserError, suggestion

_COMMON: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": "auto",
    "train_batch_size": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    # The Trainer's own AdamW; DeepSpeed's has to be compiled first.
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}
_ZERO2: dict[str, Any] = {
    "stage": 2,
    "overlap_comm": True,
    "contiguous_gradients": True,
    "reduce_bucket_size": 50_000_000,
    "allgather_bucket_size": 50_000_000,
}
_ZERO3: dict[str, Any] = {
    "stage": 3,
    "overlap_comm": True,
    "contiguous_gradients": True,
    "reduce_bucket_size": "auto",
    "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": "auto",
}
_IN_MEMORY = {"device": "cpu"}
_STAGES: dict[str, dict[str, Any]] = {
    "zero2": _ZERO2,
    "zero2_offload": {**_ZERO2, "offload_optimizer": _IN_MEMORY},
    "zero3": _ZERO3,
    "zero3_offload": {**_ZERO3, "offload_optimizer": _IN_MEMORY, "offload_param": _IN_MEMORY},
}
PRESETS: dict[str, dict[str, Any]] = {
    name: {**_COMMON, "zero_optimization": stage} for name, stage in _STAGES.items()
}
"""Stage 2 of ZeRO: the optimiser's state and gradients are in parts, the model is whole on every
device. Stage 3: the model is in parts, too, and whole layer by layer as they compute. Offload keeps
those parts in the machine's memory (Rajbhandari et al. 2020)."""


def deepspeed_config(given: str | None) -> dict[str, Any] | str | None:
    """What the Trainer is told: a preset, or the path of a configuration's JSON file.

    Raises:
        UserError: neither a preset nor a file.
    """
    if given is None or Path(given).is_file():
        return given
    if given not in PRESETS:
        raise UserError(
            "neither a preset of DeepSpeed nor a file",
            where="train.deepspeed",
            seen=given,
            hint=suggestion(given, PRESETS),
        )
    return PRESETS[given]
