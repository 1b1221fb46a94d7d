"""The gate of ``forgetting-report --check``, for people and for continuous integration."""

from __future__ import annotations

from pathlib import Path

from adaptinf.console import table
from adaptinf.evaluation.gate import losses


def check_losses(run: Path, tolerance: float) -> tuple[str, bool]:
    """What each benchmark has lost, in a table, and whether all is within ``tolerance`` points.

    Raises:
        UserError: the run has no matrix, or lacks answers.
    """
    found = losses(run, tolerance)
    if not found:
        return "nothing to check: no benchmark has a step after the one that taught it", True
    rows = [
        [
            loss.benchmark,
            f"{loss.before} to {loss.after}",
            str(loss.items) if loss.items == loss.of else f"{loss.items} of {loss.of}",
            f"{loss.lost:.1f}",
            f"{loss.low:.1f}",
            f"{loss.visible:.1f}",
            "beyond" if loss.is_beyond(tolerance) else "within",
        ]
        for loss in found
    ]
    header = ["benchmark", "steps", "items", "lost", "at least", "visible", "tolerance"]
    guilty = [loss for loss in found if loss.is_beyond(tolerance)]
    verdict = f"all within {tolerance:g} points"
    if guilty:
        names = ", ".join(dict.fromkeys(loss.skill for loss in guilty))
        verdict = f"beyond {tolerance:g} points: {names}"
    legend = "points; at least: with 95 % over all rows; visible: a loss that is seen 4 times in 5"
    lines = [table(rows, header, width=100), legend, verdict]
    if any(loss.items < loss.of for loss in found):
        probed = "of a benchmark that was probed, the same questions are compared before and after"
        lines.insert(2, probed)
    return "\n".join(lines), not guilty
