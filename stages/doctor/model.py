"""The model: in its folder, in the hub's cache, or still to be fetched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from adaptinf.models.loading import load_config, load_processor
from stages.doctor import hub
from stages.doctor.case import Case
from stages.doctor.finding import MODEL_STAGES, Finding
from stages.doctor.folder import standing
from stages.doctor.room import gigabytes

_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")


def model_there(case: Case) -> Iterator[Finding]:
    """Whether the model can be had; sets ``case.has_model`` where all of it is here."""
    source = case.model_source
    folder, where = Path(source.path), source.name
    if not folder.is_dir():
        cached = hub.cached_folder(source)
        if cached is None:
            yield _away(case)
            return
        folder, where = cached, f"{source.name}, in the hub's cache"
    if missing := _missing_weights(folder):
        todo = "complete the folder, or download the model again"
        yield Finding("model", "fail", f"{where}: no {missing} in {folder}", todo, MODEL_STAGES)
        return
    with hub.offline():
        load_config(source)
        load_processor(source)
    case.has_model = True
    yield Finding("model", "ok", where, stages=MODEL_STAGES)


def _missing_weights(folder: Path) -> str | None:
    """A file of weights that a model's folder lacks, if it lacks one."""
    index = next((folder / name for name in _INDICES if (folder / name).is_file()), None)
    if index is None:
        return None if any((folder / name).is_file() for name in _WHOLE) else _WHOLE[0]
    files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return next((name for name in files if not (folder / name).is_file()), None)


def _away(case: Case) -> Finding:
    """A model of the hub that is not here yet."""
    name = case.model_source.name
    if hub.is_offline():
        seen = f"{name} is not in the hub's cache, and HF_HUB_OFFLINE is set"
        todo = "unset HF_HUB_OFFLINE, or give the folder of the model"
        return Finding("model", "fail", seen, todo, MODEL_STAGES)
    if refused := hub.refusal(case.model_source):
        seen, todo = refused
        return Finding("model", "fail", f"{name}: {seen}", todo, MODEL_STAGES)
    size = case.weight_bytes  # takes the configuration from the hub, and no more
    there = standing(hub.cache())
    free = shutil.disk_usage(there).free
    seen = f"{name} is on the hub; some {gigabytes(size)} come into {hub.cache()}"
    if size > free:
        todo = "make room, or set HF_HOME to a folder on a larger disk"
        return Finding("model", "fail", f"{seen}, with {gigabytes(free)} free", todo, MODEL_STAGES)
    todo = f"hf download {name}, and ask again: then rows and a training step are tried, too"
    return Finding("model", "warn", seen, todo, MODEL_STAGES)
