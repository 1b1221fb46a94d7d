"""Libraries that come in flavours, or that only some recipes need."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from config import Recipe
from stages.doctor.device import nvidia_driver
from stages.doctor.finding import MODEL_STAGES, Finding, first_line
from stages.doctor.versions import extra, installed

_CPU, _GPU = "faiss-cpu", "faiss-gpu-cu12"
_CLUSTERING = ("glance", "select", "prune")


def faiss_flavour() -> Iterator[Finding]:
    """One of two packages that hold the same module, and the one for this machine."""
    here = {name: found for name in (_CPU, _GPU) if (found := installed(name))}
    shown = " and ".join(f"{name} {found}" for name, found in here.items())
    if len(here) == 2:
        seen = f"{shown} write over each other's files"
        todo = f"pip uninstall {_CPU} {_GPU}, then install one of them"
        yield Finding("faiss", "fail", seen, todo, _CLUSTERING)
        return
    driver = nvidia_driver()
    if not here:
        todo = f"pip install {_GPU if driver else _CPU}"
        yield Finding("faiss", "fail", "not installed", todo, _CLUSTERING)
        return
    try:
        import_module("faiss")
    except Exception as error:  # a library that lacks another, or is built for other hardware
        seen = f"{shown} cannot be imported: {first_line(error)}"
        yield Finding("faiss", "fail", seen, f"pip install --force-reinstall {_CPU}", _CLUSTERING)
        return
    if _GPU in here and driver is None:
        seen = f"{shown}, and no GPU is seen"
        todo = f"pip uninstall {_GPU}, then pip install {_CPU}"
        yield Finding("faiss", "warn", seen, todo, _CLUSTERING)
    else:
        yield Finding("faiss", "ok", shown, stages=_CLUSTERING)


def asked_by(recipe: Recipe) -> Iterator[Finding]:
    """DeepSpeed and bitsandbytes, where the recipe has a use for them."""
    if recipe.train.deepspeed:
        yield extra("deepspeed", f"train.deepspeed: {recipe.train.deepspeed}", ("train",))
    if recipe.model.quantize:
        why = f"model.quantize: {recipe.model.quantize}"
        yield extra("bitsandbytes", why, MODEL_STAGES)
