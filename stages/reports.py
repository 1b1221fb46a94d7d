"""What ``forgetting-report`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptinf.console import table
from adaptinf.evaluation.answered import read_matrix


def tables_of(runs: Sequence[Path]) -> str:
    """The matrix of a run; of several, a line for each.

    Raises:
        UserError: a folder holds no matrix.
    """
    matrices = [read_matrix(run) for run in runs]
    if len(matrices) == 1:
        return matrices[0].table()
    rows = []
    for run, matrix in zip(runs, matrices, strict=True):
        lost = [matrix.forgetting(kind) for kind in ("max-drop", "end-drop")]
        cells = ["-" if value is None else f"{value:.1f}" for value in lost]
        rows.append([run.resolve().name, f"{matrix.average_accuracy():.1f}", *cells])
    return table(rows, ["run", "average", "max-drop", "end-drop"], width=100)
