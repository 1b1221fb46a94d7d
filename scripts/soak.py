"""Does a run grow? Resident memory and open files over hundreds of batches of each stage.

A sequence of the embedded world, in one process, which looks at itself after every batch (in
training: every optimiser step). A slope is that of a line through the means of eight parts of a
stage, its first quarter left out, in which libraries are loaded and caches filled; beside it stands
half the width of its 95 % interval (Student's t, six degrees of freedom).

``python scripts/soak.py`` writes docs/soak.json and the table of docs/reliability.md (a smaller
trial, which writes neither: ``--steps 20``).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import linregress, t

from adaptinf.console import quiet_libraries
from config import load_recipe
from pages import markdown, put

DOCS = Path(__file__).parents[1] / "docs"
TASKS = ("llava", "mantis", "vision_flan")
PARTS = 8
LOOKED_AT = ("featurize", "train", "evaluate")
FLAT = {"memory": 1.0, "files": 0.1}
"""What a stage that is called flat may gain in a hundred batches: MB, files."""

HEADS = {
    "stage": "stage",
    "batches": "batches",
    "seconds": "seconds",
    "memory": "memory at its end, MB",
    "memory_slope": "MB in 100 batches",
    "files": "open files at its end",
    "files_slope": "files in 100 batches",
    "flat": "flat",
}


@dataclass
class Watched:
    """A stage's progress that looks at the process after each batch."""

    started: float = field(default_factory=time.monotonic)
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def total(self, rows: int, done: int = 0) -> None:
        """Nothing to look at."""

    def note(self, text: str) -> None:
        """Nothing to look at."""

    def advance(self, rows: int) -> None:
        """A batch is over."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        self.files.append(len(os.listdir("/proc/self/fd")))


@dataclass
class Watcher:
    """The console of a run that is watched: silent."""

    found: dict[str, tuple[Watched, float]] = field(default_factory=dict)

    def run_started(self, total_units: float, done_units: float = 0.0) -> None:
        """Nothing to tell."""

    @contextmanager
    def stage(
        self, *, task: str, index: int, total: int, stage: str, units: float = 1.0
    ) -> Iterator[Watched]:
        """One stage of one step."""
        watched = Watched()
        yield watched
        self.found[f"{index}-{task}/{stage}"] = watched, time.monotonic() - watched.started

    def line(self, text: str) -> None:
        """Nothing to tell."""

    def event(self, kind: str, **fields: object) -> None:
        """Nothing to tell."""


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Growth in a hundred batches, and half the width of its 95 % interval."""
    kept = np.asarray(values[len(values) // 4 :], dtype=float)
    if np.ptp(kept) == 0:
        return 0.0, 0.0
    parts = np.array_split(np.arange(len(kept)), PARTS)
    line = linregress([part.mean() for part in parts], [kept[part].mean() for part in parts])
    return 100 * line.slope, 100 * line.stderr * t.ppf(0.975, PARTS - 2)


def worded(name: str, watched: Watched, seconds: float) -> dict[str, object]:
    """A line of the table; flat where even the upper ends of the intervals are small."""
    memory, files = slope(watched.memory), slope(watched.files)
    flat = sum(memory) < FLAT["memory"] and sum(files) < FLAT["files"]
    return {
        "stage": name,
        "batches": len(watched.memory),
        "seconds": round(seconds),
        "memory": round(watched.memory[-1]),
        "memory_slope": f"{memory[0]:+.2f} ± {memory[1]:.2f}",
        "files": watched.files[-1],
        "files_slope": f"{files[0]:+.2f} ± {files[1]:.2f}",
        "flat": "yes" if flat else "no",
    }


def recipe_of(run: Path, steps: int) -> dict[str, object]:
    """Each training of so many steps, with a checkpoint every 25; about as many other batches."""
    return {
        "output_dir": str(run),
        "tasks": [{"dataset": name, "limit": 3 * steps} for name in TASKS],
        "featurize": {"dim": 256, "batch_tokens": 128, "refresh": "new"},
        "select": {"budget": 2 * steps},
        "train": {"learning_rate": 1e-3, "batch_size": 4, "epochs": 2, "save_steps": 25},
        "evaluate": {"benchmarks": ["colour"], "limit": steps, "batch_size": 1, "probe": None},
    }


def soaked(steps: int) -> list[dict[str, object]]:
    """Run it, and say how it grew."""
    from stages.manager import run_lifelong

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "recipe.yaml")
        file.write_text(yaml.safe_dump(recipe_of(Path(scratch, "run"), steps)))
        watcher = Watcher()
        run_lifelong(load_recipe(file, []), watcher)  # type: ignore[arg-type]
    return [
        worded(name, watched, seconds)
        for name, (watched, seconds) in watcher.found.items()
        if name.endswith(LOOKED_AT)
    ]


def main() -> None:
    """Run, print, and keep what the documentation shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="optimiser steps of each training")
    steps = parser.parse_args().steps
    quiet_libraries()
    lines = soaked(steps)
    table = markdown(HEADS, lines)
    print(table)
    if steps == 200:
        told = json.dumps({"steps": steps, "lines": lines}, indent=1, ensure_ascii=False)
        (DOCS / "soak.json").write_text(told + "\n")
        put(DOCS / "reliability.md", "docs/soak.json", table)


if __name__ == "__main__":
    main()
