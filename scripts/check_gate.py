"""How often the gate stops a run, by what was lost: power, and false alarms, in a simulation.

Each run has ``--benchmarks`` benchmarks; of one of them answers are lost, the others stay as they
are. Answers change between the two steps whether anything is lost or not: ``--churn`` of them do,
as many for the better as for the worse where nothing is lost. ``coverage`` is how often the
interval of a score holds the score that it was drawn around.

``python scripts/check_gate.py`` (a smaller trial: ``--runs 20``).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from adaptinf.evaluation.gate import least_loss, visible_loss
from adaptinf.evaluation.intervals import bootstrap_interval
from pages import markdown, put

ITEMS = (200, 500, 1000)
LOSSES = (0.0, 1.0, 3.0, 5.0)
TOLERANCE = 1.0
ACCURACY = 0.8

HEADS = {
    "items": "items",
    "lost 0": "nothing lost",
    "lost 1": "1 point lost",
    "lost 3": "3 points lost",
    "lost 5": "5 points lost",
    "visible": "visible, points",
    "coverage": "coverage of an interval, %",
}


def stopped(draw: np.random.Generator, items: int, lost: float, churn: float, others: int) -> bool:
    """Whether a run with such a loss on one benchmark is stopped."""
    shares = [lost / 100] + [0.0] * others
    return any(
        least_loss(_changes(draw, items, share, churn), len(shares)) > TOLERANCE for share in shares
    )


def _changes(draw: np.random.Generator, items: int, share: float, churn: float) -> np.ndarray:
    """Points lost by each item: 100, 0, or -100."""
    worse, better = churn / 2 + share / 2, max(0.0, churn / 2 - share / 2)
    return draw.choice([100.0, -100.0, 0.0], items, p=[worse, better, 1 - worse - better])


def coverage(draw: np.random.Generator, items: int, runs: int) -> float:
    """How often, in percent, an interval of 95 % holds the truth."""
    held = 0
    for run in range(runs):
        scores = 100.0 * (draw.random(items) < ACCURACY)
        interval = bootstrap_interval(scores, seed=run)
        held += interval.low <= 100 * ACCURACY <= interval.high
    return 100 * held / runs


def measured(items: int, runs: int, churn: float, benchmarks: int) -> dict[str, object]:
    """A line of the table."""
    draw = np.random.default_rng(items)
    told: dict[str, object] = {"items": items}
    for lost in LOSSES:
        times = sum(stopped(draw, items, lost, churn, benchmarks - 1) for _ in range(runs))
        told[f"lost {lost:g}"] = f"{100 * times / runs:.1f} %"
    spread = _changes(draw, 100_000, 0.0, churn)[:items]
    told["visible"] = f"{TOLERANCE + visible_loss(spread, benchmarks):.1f}"
    told["coverage"] = f"{coverage(draw, items, 4 * runs):.1f}"
    return told


def main() -> None:
    """Print the table, and keep it where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--churn", type=float, default=0.1, help="share of answers that change")
    parser.add_argument("--benchmarks", type=int, default=14)
    parser.add_argument("--out", type=Path, help="keep the numbers as JSON")
    parser.add_argument("--page", type=Path, help="put the table on this page")
    arguments = parser.parse_args()
    lines = [
        measured(items, arguments.runs, arguments.churn, arguments.benchmarks) for items in ITEMS
    ]
    text = markdown(HEADS, lines)
    print(text)
    if arguments.out:
        told = {
            "runs": arguments.runs,
            "churn": arguments.churn,
            "benchmarks": arguments.benchmarks,
            "tolerance": TOLERANCE,
            "lines": lines,
        }
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")
    if arguments.page:
        put(arguments.page, str(arguments.out or "check_gate"), text)


if __name__ == "__main__":
    main()
