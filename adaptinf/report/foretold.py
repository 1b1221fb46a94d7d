"""Drops that were to be expected before a step trained, beside those that came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptinf.evaluation.drops import LARGE, Expected, expected_drops
from adaptinf.report.findings import Findings


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a step was expected to cost a benchmark, and the points that it then lost."""

    step: str
    expected: Expected
    came: float

    @property
    def was_told(self) -> bool:
        """Whether the run warned of it."""
        return self.expected.points >= LARGE

    @property
    def is_large(self) -> bool:
        """Whether so much was lost."""
        return self.came >= LARGE


def foretold_drops(findings: Findings) -> Sequence[Foretold]:
    """Those that were told or came, step by step; of steps whose files are there.

    Of a step that has rehearsed nothing was told: the table is not made of such ones.
    """
    matrix = findings.matrix
    place = {column.name: at for at, column in enumerate(matrix.benchmarks)}
    found = []
    for row in range(2, len(matrix.steps)):
        folders = [findings.step_folder(number) for number in range(1, row + 1)]
        if not all(map(_has_rows, folders)) or (folders[-1] / "rehearse").is_dir():
            continue
        for expected in expected_drops(matrix, folders):
            standing = expected.standing
            came = standing.level - float(matrix.scores[row, place[standing.benchmark]])
            found.append(Foretold(matrix.steps[row], expected, came))
    return [one for one in found if one.was_told or one.is_large]


def _has_rows(step: Path) -> bool:
    files = ("ingest/pool.parquet", "select/selection.parquet")
    return all((step / file).is_file() for file in files)
