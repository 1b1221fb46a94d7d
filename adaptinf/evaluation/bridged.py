"""What the steps of a run got through lmms-eval: columns beside those of its own benchmarks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptinf.errors import UserError
from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn

FOLDER = "lmms"
PREFIX = f"{FOLDER}:"
"""Of the columns' names, so that none is taken for a benchmark of the run itself."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One step on one task: ``score`` and ``stderr`` as lmms-eval gives them, of ``n`` items.

    ``mean`` and ``interval`` are in percent, where the score is the mean of its items and those
    are shares; None elsewhere.
    """

    n: int
    score: float
    stderr: float | None
    mean: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class BridgedColumn:
    """A task along the rows of a run; a cell is None where the step was not asked."""

    name: str
    metric: str
    cells: tuple[Cell | None, ...]

    @property
    def is_percent(self) -> bool:
        """Whether all that is known of it are means of shares, which may stand beside accuracy."""
        return all(cell is None or cell.mean is not None for cell in self.cells)

    @property
    def is_whole(self) -> bool:
        """Whether it is a column like any other: in percent, of the same items at every step."""
        items = {cell.n if cell else None for cell in self.cells}
        return self.is_percent and None not in items and len(items) == 1

    @property
    def values(self) -> list[float | None]:
        """A number for each row: percent, or in the unit of lmms-eval."""
        values = (cell and (cell.mean if self.is_percent else cell.score) for cell in self.cells)
        return list(values)

    def compares(self, rows: Sequence[int]) -> bool:
        """Whether these rows can be held against each other item by item."""
        return self.is_percent and all(self.cells[row] is not None for row in rows)

    def benchmark(self) -> BenchmarkColumn:
        """The head of its column in a matrix; no step of the run teaches it."""
        items = max(cell.n for cell in self.cells if cell)
        return BenchmarkColumn(self.name, self.name, self.metric, items, None)


def read_columns(steps: Sequence[Path]) -> list[BridgedColumn]:
    """All tasks that any of these folders of steps was asked, by name.

    What a model gave that the step no longer has, because it was trained anew, is left out.

    Raises:
        UserError: a file that the bridge has not written.
    """
    found: dict[str, tuple[str, list[Cell | None]]] = {}
    for row, step in enumerate(steps):
        for name, metric, cell in _cells(step):
            known, cells = found.setdefault(name, (metric, [None] * len(steps)))
            if known == metric:
                cells[row] = cell
    return [
        BridgedColumn(name, metric, tuple(cells)) for name, (metric, cells) in sorted(found.items())
    ]


def joined(matrix: AccuracyMatrix, columns: Sequence[BridgedColumn]) -> AccuracyMatrix:
    """The matrix with those columns that are whole.

    What is in another unit, or not known of every step, has no place in its averages.
    """
    whole = [column for column in columns if column.is_whole]
    if not whole:
        return matrix
    intervals = matrix.intervals
    if intervals is not None:
        ends = [[cell.interval for cell in column.cells if cell] for column in whole]
        intervals = np.concatenate([intervals, np.array(ends).transpose(1, 0, 2)], axis=1)
    heads = [column.benchmark() for column in whole]
    asked = matrix.asked
    if asked is not None:
        asked = np.column_stack([asked, *([head.n] * len(matrix.steps) for head in heads)])
    return AccuracyMatrix(
        matrix.steps,
        [*matrix.benchmarks, *heads],
        np.column_stack([matrix.scores, *(column.values for column in whole)]),
        intervals,
        asked,
    )


def model_of(step: Path) -> dict[str, str]:
    """Fingerprints of the model that a step's own benchmarks were answered by, and its training."""
    for done in sorted((step / "evaluate").glob("*/DONE")):
        return _model(_object(done).get("inputs"))
    return {}


def _model(inputs: Any) -> dict[str, str]:
    if not isinstance(inputs, Mapping):
        return {}
    return {name: str(inputs[name]) for name in ("model", "train") if name in inputs}


def _cells(step: Path) -> Iterator[tuple[str, str, Cell]]:
    """Names, metrics and cells of the tasks that a step was asked."""
    for done in sorted((step / FOLDER).glob("*/DONE")):
        if _model(_object(done).get("inputs")) != model_of(step):
            continue
        # A group that has no number of its own holds a folder for each of its tasks.
        for file in sorted([*done.parent.glob("scores.json"), *done.parent.glob("*/scores.json")]):
            name = file.parent.relative_to(step / FOLDER).as_posix()
            yield PREFIX + name, *_cell(file)


def _cell(file: Path) -> tuple[str, Cell]:
    told = _object(file)
    try:
        stderr, mean, ends = told["stderr"], told["mean"], told["interval"]
        cell = Cell(
            n=int(told["n"]),
            score=_number(told["score"]),
            stderr=None if stderr is None else _number(stderr),
            mean=None if mean is None else _number(mean),
            interval=None if mean is None else (_number(ends[0]), _number(ends[1])),
        )
        return str(told["metric"]), cell
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError("not scores of lmms-eval", where=str(file), seen=str(error)) from None


def _number(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no score")
    return float(value)


def _object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError("not valid JSON", where=str(file), seen=str(error)) from None
    if not isinstance(content, dict):
        raise UserError("not a JSON object", where=str(file))
    return content
