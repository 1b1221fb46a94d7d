"""Python, and whether the installed packages are those that the project and one another ask for.

Reads what is installed, without importing it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stages.doctor.finding import MODEL_STAGES, STAGES, Finding

OLDEST_PYTHON = (3, 11)

LIBRARIES = (
    *("torch", "transformers", "peft", "accelerate", "datasets", "huggingface_hub", "tokenizers"),
    *("safetensors", "deepspeed", "bitsandbytes", "faiss-cpu", "faiss-gpu-cu12"),
)
"""Whose own requirements are looked at, too."""

_PROJECT = "adaptinf"
_STAGES = {"peft": MODEL_STAGES, "accelerate": ("train",)}


def installed(package: str) -> str | None:
    """The version that is installed, None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def python_version() -> Iterator[Finding]:
    """Whether Python is new enough."""
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("python", "fail", f"Python {seen}", f"install Python {needed} or newer")
    else:
        yield Finding("python", "ok", f"Python {seen}")


def package_versions() -> Iterator[Finding]:
    """What the project needs, then what its libraries ask of one another."""
    faults = [_unfit("this release", need, found) for need, found in unmet(_PROJECT)]
    for library in LIBRARIES:
        if here := installed(library):
            faults += [_odd(f"{library} {here}", need, found) for need, found in unmet(library)]
    yield from faults
    if not faults:
        shown = ", ".join(f"{name} {found}" for name in LIBRARIES if (found := installed(name)))
        yield Finding("packages", "ok", shown)


def unmet(package: str) -> Iterator[tuple[Requirement, str | None]]:
    """Requirements of an installed package, extras apart, that are not met; what there is."""
    for text in requires(package) or ():
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            found = installed(need.name)
            if found is None or not need.specifier.contains(found, prereleases=True):
                yield need, found


def extra(package: str, why: str, stages: tuple[str, ...]) -> Finding:
    """Whether a package that only some recipes need is installed, as new as the project asks."""
    needs = (Requirement(text) for text in requires(_PROJECT) or ())
    named = (need for need in needs if canonicalize_name(need.name) == package)
    need = next(named, Requirement(package))  # an older install knows nothing of it
    found = installed(package)
    if found and need.specifier.contains(found, prereleases=True):
        return Finding(package, "ok", f"{found}, for {why}", stages=stages)
    seen = f"{found}, where {need.specifier} is needed" if found else "not installed"
    todo = f'pip install "{package}{need.specifier}"'
    return Finding(package, "fail", f"{seen}; {why} needs it", todo, stages)


def _unfit(owner: str, need: Requirement, found: str | None) -> Finding:
    """A requirement of the project itself: a run is likely to fail."""
    name, wanted = canonicalize_name(need.name), f"{need.name}{need.specifier}"
    seen = f"{name} {found}" if found else f"{name} is not installed"
    stages = _STAGES.get(name, STAGES)
    todo = f'pip install "{wanted}"'
    return Finding("packages", "fail", f"{seen}; {owner} asks for {wanted}", todo, stages)


def _odd(owner: str, need: Requirement, found: str | None) -> Finding:
    """A requirement of one library on another: many such pairs work all the same."""
    return replace(_unfit(owner, need, found), verdict="warn", stages=MODEL_STAGES)
