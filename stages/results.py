"""What the finished stages add up to: the accuracy matrix and the bill."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn
from adaptinf.files import write_atomically
from stages.context import Context
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


class Bill:
    """``cost.json``: seconds and rows of every stage, of the tries that were not killed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._steps: list[dict[str, Any]] = []
        if file.is_file():
            self._steps = json.loads(file.read_text())["steps"]

    def add(self, step: str, stage: str, seconds: float, rows: int) -> None:
        """Add to what a stage has cost, and write the file."""
        entry = next((e for e in self._steps if e["step"] == step), None)
        if entry is None:
            entry = {"step": step, "stages": {}}
            self._steps.append(entry)
            self._steps.sort(key=lambda e: int(e["step"].split("-", 1)[0]))
        stages = entry["stages"]
        cost = stages.setdefault(stage, {"seconds": 0.0, "rows": 0})
        cost["seconds"] = round(cost["seconds"] + seconds, 3)
        cost["rows"] += rows
        self._write()

    def forget(self, steps: Collection[str]) -> None:
        """Strike out what these steps have cost: they are no part of the run."""
        self._steps = [entry for entry in self._steps if entry["step"] not in steps]
        self._write()

    def _write(self) -> None:
        write_atomically(self._file, json.dumps({"steps": self._steps}, indent=1) + "\n")
