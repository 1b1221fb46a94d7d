"""What ``forgetting-report`` prints and writes, and ``adaptinf lmms`` of its part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptinf.console import table
from adaptinf.evaluation.answered import bridged_columns, read_matrix
from adaptinf.evaluation.bridged import BridgedColumn
from stages.seals import reseal_result


def write_run_report(run: Path) -> Path:
    """Write ``report.html`` of a run, and say that it is as it shall be.

    Raises:
        UserError: the folder holds no matrix, or a file that no run writes.
    """
    from adaptinf.report import write_report

    page = write_report(run)
    reseal_result(run, page.name)
    return page


def tables_of(runs: Sequence[Path]) -> str:
    """The matrix of a run, and what of lmms-eval is not in it; of several runs, a line for each.

    Raises:
        UserError: a folder holds no matrix.
    """
    matrices = [read_matrix(run) for run in runs]
    if len(matrices) == 1:
        steps = matrices[0].steps
        apart = [column for column in bridged_columns(runs[0], steps) if not column.is_whole]
        told = [matrices[0].table()]
        if apart:
            told += ["", "not in the averages, through lmms-eval:", _bridged(apart, steps)]
        return "\n".join(told)
    rows = []
    for run, matrix in zip(runs, matrices, strict=True):
        lost = [matrix.forgetting(kind) for kind in ("max-drop", "end-drop")]
        cells = ["-" if value is None else f"{value:.1f}" for value in lost]
        rows.append([run.resolve().name, f"{matrix.average_accuracy():.1f}", *cells])
    return table(rows, ["run", "average", "max-drop", "end-drop"], width=100)


def bridged_table(run: Path) -> str:
    """All that a run has through lmms-eval.

    Raises:
        UserError: no run.
    """
    steps = read_matrix(run).steps
    return _bridged(bridged_columns(run, steps), steps)


def _bridged(columns: Sequence[BridgedColumn], steps: Sequence[str]) -> str:
    rows = [
        [
            column.name,
            f"{column.metric}, %" if column.is_percent else column.metric,
            *("-" if value is None else f"{value:.4g}" for value in column.values),
        ]
        for column in columns
    ]
    return table(rows, ["task", "metric", *steps], width=100)
