"""``environment.json``: the machine, the versions, and where this machine keeps the images."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adaptinf.files import write_atomically
from stages.context import Context

PACKAGES = (
    *("torch", "transformers", "peft", "accelerate", "deepspeed", "faiss-cpu", "faiss-gpu-cu12"),
    *("datasets", "scikit-learn", "numpy", "pyarrow", "pillow"),
)


def write_environment(context: Context) -> None:
    """Write it anew at every start: it says where the run was made last."""
    import torch

    roots = {label: str(source.images.resolve()) for label, source in context.sources.items()}
    roots |= {f"benchmark:{b.name}": str(b.images.resolve()) for b in context.benchmarks}
    described = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "recipe_dir": str(context.recipe.recipe_dir.resolve()),
        "image_roots": roots,
    }
    write_atomically(context.run / "environment.json", json.dumps(described, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, when the project runs from one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
