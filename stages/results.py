"""What the finished stages add up to: the accuracy matrix and the bill."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn
from adaptinf.files import write_atomically
from stages.context import Context, step_number
from stages.walk import StepWorks


def build_matrix(context: Context, walk: Sequence[StepWorks]) -> AccuracyMatrix:
    """The matrix over the steps given, all of whose evaluations are done."""
    cells = [[_cell(work.folder) for work in works.evaluate] for works in walk]
    columns = [
        BenchmarkColumn(
            name=benchmark.name,
            skill=benchmark.skill,
            metric=benchmark.metric,
            n=cells[0][position]["n"],
            learned_at=_learned_at(context, benchmark.taught_by),
            kind=benchmark.kind,
        )
        for position, benchmark in enumerate(context.benchmarks)
    ]
    asked = np.array([[cell["n"] for cell in row] for row in cells])
    return AccuracyMatrix(
        steps=["base", *(works.step.name for works in walk[1:])],
        benchmarks=columns,
        scores=np.array([[cell["score"] for cell in row] for row in cells]),
        intervals=np.array([[cell["interval"] for cell in row] for row in cells]),
        asked=asked if (asked != asked[0]).any() else None,
    )


def _cell(folder: Path) -> dict[str, Any]:
    cell: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return cell


def _learned_at(context: Context, taught_by: Sequence[str]) -> int | None:
    """The first step whose dataset teaches the skill."""
    for step, task in zip(context.steps, context.recipe.tasks, strict=True):
        if task.dataset in taught_by or task.label in taught_by:
            return step.index
    return None


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds since a moment, by the clock and of this process's threads together."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> Spent:
        """The moment that is subtracted later."""
        return cls(time.monotonic(), time.process_time())

    def since(self, before: Spent) -> Spent:
        """What has passed since an earlier moment."""
        return Spent(self.seconds - before.seconds, self.cpu_seconds - before.cpu_seconds)


class Bill:
    """``cost.json``: seconds and rows of every stage, of all tries but those that were killed.

    ``seconds`` are those of the clock, ``cpu_seconds`` those that the leader's process computed,
    all its threads together: other work on the machine hardly touches them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._steps: list[dict[str, Any]] = []
        if file.is_file():
            self._steps = json.loads(file.read_text())["steps"]

    def add(self, step: str, stage: str, spent: Spent, rows: int) -> None:
        """Add to what a stage has cost, and write the file."""
        stages = self._stages(step)
        cost = stages.setdefault(stage, {"seconds": 0.0, "cpu_seconds": 0.0, "rows": 0})
        cost["seconds"] = round(cost["seconds"] + spent.seconds, 3)
        # A run that was begun by an earlier version has not counted them so far.
        cost["cpu_seconds"] = round(cost.get("cpu_seconds", 0.0) + spent.cpu_seconds, 3)
        cost["rows"] += rows
        self._write()

    def cost_of(self, step: str, stage: str) -> dict[str, Any] | None:
        """What is written of a stage of a step; None for nothing."""
        entry = next((e for e in self._steps if e["step"] == step), None)
        return None if entry is None else entry["stages"].get(stage)

    def take(self, step: str, stage: str, cost: Mapping[str, Any]) -> None:
        """Write down what a stage cost the run that it was taken from."""
        self._stages(step)[stage] = dict(cost)
        self._write()

    def _stages(self, step: str) -> dict[str, Any]:
        entry = next((e for e in self._steps if e["step"] == step), None)
        if entry is None:
            entry = {"step": step, "stages": {}}
            self._steps.append(entry)
            self._steps.sort(key=lambda e: step_number(e["step"]))
        stages: dict[str, Any] = entry["stages"]
        return stages

    def forget(self, steps: Collection[str]) -> None:
        """Strike out what these steps have cost: they are no part of the run."""
        self._steps = [entry for entry in self._steps if entry["step"] not in steps]
        self._write()

    def _write(self) -> None:
        write_atomically(self._file, json.dumps({"steps": self._steps}, indent=1) + "\n")
