"""What a coming step is expected to cost each skill: how far such skills fell in the study.

A benchmark is looked up by its level, the score before the step, and by its share of the rows that
the step trains on. ``drops.json``, which ``scripts/study_drops.py`` writes, holds the mean drop in
each cell of such a table; ``docs/expected_drops.md`` tells how far it holds.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.evaluation.matrix import ACCURACY, AccuracyMatrix, BenchmarkColumn

LARGE = 10.0
"""Points of a drop from which on it is worth a warning."""

LEVELS = (20.0, 40.0, 60.0, 80.0)
"""Where a new band of level begins, percent."""
SHARES = (1e-9, 0.01, 0.03, 0.1)
"""Where a new band of share begins; before the first is no row at all."""

Named = Mapping[int | None, frozenset[str]]
"""Skills by the number of a step."""

Cell = tuple[int, int]
"""A band of level and a band of share, counted from 0."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A benchmark before a step: its score in percent, its rows among those that are selected."""

    benchmark: str
    level: float
    rows: int
    selected: int

    @property
    def cell(self) -> Cell:
        """Where it stands in the table."""
        share = self.rows / max(1, self.selected)
        return bisect_right(LEVELS, self.level), bisect_right(SHARES, share)


@dataclass(frozen=True, slots=True)
class Expected:
    """``points`` is the mean drop of ``cases`` benchmarks of the study that stood likewise."""

    standing: Standing
    points: float
    cases: int


def expected_drop(cell: Cell) -> tuple[float, int]:
    """Mean drop of a cell of the table, in points, and the cases behind it."""
    return _table()[cell]


def expected_drops(matrix: AccuracyMatrix, steps: Sequence[Path]) -> list[Expected]:
    """What a step is expected to cost, for each of its standings.

    ``steps`` are the folders of all steps up to this one, which has selected its rows; the matrix
    has (at least) all rows before it.
    """
    return [Expected(one, *expected_drop(one.cell)) for one in standings(matrix, steps)]


def standings(matrix: AccuracyMatrix, steps: Sequence[Path]) -> list[Standing]:
    """Of every accuracy that was taught before the last of these steps, in the matrix's order."""
    chosen = steps[-1] / "select" / "selection.parquet"
    selected = pq.read_table(chosen, columns=["skill", "arrived"])
    named = named_skills(matrix, steps)
    levels = matrix.scores[len(steps) - 1].tolist()
    found = []
    for column, level in zip(matrix.benchmarks, levels, strict=True):
        learned = column.learned_at
        if column.kind == ACCURACY and learned is not None and learned < len(steps):
            rows = int(own_rows(selected, column, named).sum())
            found.append(Standing(column.name, level, rows, selected.num_rows))
    return found


def own_rows(rows: pa.Table, column: BenchmarkColumn, named: Named) -> NDArray[np.bool_]:
    """Which of these rows, with ``skill`` and ``arrived``, are a benchmark's own [n].

    Those that name its skill; where no row that came with the step that taught it does, all of
    those that came with it as well.
    """
    own = pc.fill_null(pc.equal(rows["skill"], column.skill), False)
    if column.skill not in named[column.learned_at]:
        own = pc.or_(own, pc.equal(rows["arrived"], column.learned_at))
    mask: NDArray[np.bool_] = own.to_numpy()
    return mask


def named_skills(matrix: AccuracyMatrix, steps: Sequence[Path]) -> Named:
    """Of each of these steps that taught a benchmark, the skills that its new rows name."""
    numbers = {column.learned_at for column in matrix.benchmarks}
    found: dict[int | None, frozenset[str]] = {}
    for number in (number for number in numbers if number and number <= len(steps)):
        pool = steps[number - 1] / "ingest" / "pool.parquet"
        came = pc.field("arrived") == number
        skills = pq.read_table(pool, columns=["skill"], filters=came)["skill"]
        found[number] = frozenset(skills.unique().drop_null().to_pylist())
    return found


@cache
def _table() -> Mapping[Cell, tuple[float, int]]:
    """Mean drop in points, and the cases behind it."""
    cells = json.loads(Path(__file__).with_suffix(".json").read_text())["cells"]
    return {(c["level"], c["share"]): (c["drop"], c["cases"]) for c in cells}
