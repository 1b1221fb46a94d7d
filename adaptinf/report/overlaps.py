"""What the rows of each step share with benchmarks and with earlier datasets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Overlaps:
    """By step, then by benchmark or by dataset: numbers of rows, see ``overlap.json``."""

    benchmarks: Mapping[str, Mapping[str, Mapping[str, int]]]
    datasets: Mapping[str, Mapping[str, Mapping[str, int]]]

    @property
    def leaked(self) -> int:
        """Questions that rows have in other words, summed over steps and benchmarks."""
        return sum(one["near"] for found in self.benchmarks.values() for one in found.values())


def overlaps_of(steps: Iterable[Path]) -> Overlaps | None:
    """Of the steps in these folders; None where none has been measured."""
    benchmarks: dict[str, Mapping[str, Mapping[str, int]]] = {}
    datasets: dict[str, Mapping[str, Mapping[str, int]]] = {}
    for step in steps:
        found = _read(step.glob("overlap/benchmarks/*/overlap.json"))
        earlier = _read(step.glob("overlap/datasets/overlap.json"))
        if found or earlier:
            benchmarks[step.name], datasets[step.name] = found, earlier
    return Overlaps(benchmarks, datasets) if benchmarks else None


def _read(files: Iterable[Path]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in sorted(files):
        found |= json.loads(file.read_text())
    return found
