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
    """Of the steps in these folders; None where none has been measured.

    A step that was measured against more benchmarks later counts as it was last.
    """
    benchmarks: dict[str, Mapping[str, Mapping[str, int]]] = {}
    datasets: dict[str, Mapping[str, Mapping[str, int]]] = {}
    for step in steps:
        files = step.glob("overlap/*/overlap.json")
        found: list[dict[str, Any]] = [json.loads(file.read_text()) for file in sorted(files)]
        if found:
            fullest = max(found, key=lambda one: len(one["benchmarks"]))
            benchmarks[step.name] = fullest["benchmarks"]
            datasets[step.name] = fullest["datasets"]
    return Overlaps(benchmarks, datasets) if benchmarks else None
