"""Disk and memory beside what the run will take, by the dry run's bill."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.doctor.case import Case
from stages.doctor.finding import MODEL_STAGES, Finding, Unseen
from stages.doctor.folder import standing

if TYPE_CHECKING:
    from stages.bill import StageCost

_TIGHT = 0.8
"""Share of what there is above which an estimate is warned of."""

_LITTLE = 1e9
_CGROUP = Path("/sys/fs/cgroup")


def gigabytes(number: float) -> str:
    """``14.1 GB``, ``35 MB``."""
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def little_disk(folder: Path) -> Iterator[Finding]:
    """Whether a disk has any room to speak of, where nothing is known of the run."""
    free = shutil.disk_usage(standing(folder)).free
    seen = f"{gigabytes(free)} free in {standing(folder)}"
    if free < _LITTLE:
        yield Finding("disk", "warn", seen, "make room")
    else:
        yield Finding("disk", "ok", seen)


def disk(case: Case) -> Iterator[Finding]:
    """Whether the run's folder has room for all that is still to be written."""
    run = standing(case.recipe.output_dir)
    written = sum(cost.to_do.disk for cost in bill(case))
    # While a step trains: weights and both moments, in each checkpoint and one being written.
    checkpoint = 12.0 * case.shape.adapter_parameters
    needed = written + checkpoint * (case.recipe.train.keep_checkpoints + 1)
    free = shutil.disk_usage(run).free
    seen = f"some {gigabytes(needed)} to write, {gigabytes(free)} free in {run}"
    todo = "make room, or give an output_dir on another disk"
    if needed > free:
        yield Finding("disk", "fail", seen, todo)
    elif needed > _TIGHT * free:
        yield Finding("disk", "warn", seen, todo)
    else:
        yield Finding("disk", "ok", seen)


def memory(case: Case) -> Iterator[Finding]:
    """Whether the weights fit, and what the stages take with their batches (an estimate)."""
    if not case.has_model:
        raise Unseen("the model is not here")
    free, where = free_memory()
    weights = case.weight_bytes
    if weights > free and case.recipe.model.quantize is None:
        seen = f"the weights take {gigabytes(weights)}, and {where} has {gigabytes(free)} free"
        todo = "take a smaller model.dtype, model.quantize: 4bit, or another machine"
        yield Finding("memory", "fail", seen, todo, MODEL_STAGES)
        return
    large = {c.stage: c.to_do.memory for c in bill(case) if c.to_do.memory > _TIGHT * free}
    for stage, needed in large.items():
        seen = f"{stage} takes some {gigabytes(needed)}; {where} has {gigabytes(free)} free"
        todo = "smaller batches, or train.gradient_checkpointing: true"
        yield Finding("memory", "warn", seen, todo, (stage,))
    if not large:
        most = max((cost.to_do.memory for cost in bill(case)), default=0.0)
        seen = f"some {gigabytes(most)} at most; {where} has {gigabytes(free)} free"
        yield Finding("memory", "ok", seen, stages=MODEL_STAGES)


def bill(case: Case) -> list[StageCost]:
    """What the stages still to do take, worked out once. Raises ``Unseen`` where it cannot be."""
    if not case.has_model:
        raise Unseen("the model is not here")
    if len(case.looks) < len(case.recipe.tasks) or not case.asks:
        raise Unseen("that takes datasets and benchmarks that can be used")
    if case.costs is None:
        from stages.bill import bill_of
        from stages.doctor.hub import offline
        from stages.forecast import sizes
        from stages.walk import plan_walk

        with offline():
            context = case.context
            walk, looks = plan_walk(context), list(case.looks.values())
            case.costs = bill_of(context, looks, walk, sizes(context))
    return case.costs


def free_memory() -> tuple[float, str]:
    """Bytes that are free on the first accelerator, or else on the machine; and its name."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info(0)[0]), torch.cuda.get_device_name(0)
    return _machine_memory(), "this machine"


def _machine_memory() -> float:
    """What the system can give, and no more than this process's group may still take."""
    told = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    free = 1024.0 * int(told[1]) if told else float("inf")
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if most == "max" else min(free, float(int(most) - used))
