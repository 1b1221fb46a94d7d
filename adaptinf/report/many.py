"""Several runs on one page: where they ended, what they forgot, what it cost, how they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from markupsafe import Markup

from adaptinf import __version__
from adaptinf.errors import UserError
from adaptinf.evaluation.comparison import Comparison, compare_runs
from adaptinf.evaluation.settings import flat_settings
from adaptinf.files import write_atomically
from adaptinf.report import costs, svg, wording
from adaptinf.report.charts import STEP_WIDTH, Scale
from adaptinf.report.findings import Findings, read_findings
from adaptinf.report.rendering import render

TOP, BOTTOM = 22.0, 242.0
SPREAD = 14.0
"""Least pixels between two numbers, one above the other."""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run: ``number`` stands for it in the drawings, ``against`` compares it with the first."""

    number: int
    name: str
    findings: Findings
    seconds: float
    choosing: float
    training: float
    against: Comparison | None

    @property
    def averages(self) -> list[float]:
        """Average accuracy after each step, the base model first."""
        matrix = self.findings.matrix
        return [matrix.average_accuracy(row) for row in range(len(matrix.steps))]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs whose recipes differ in nothing but the seed and the order of tasks.

    ``numbers`` are theirs, ``seeds`` and ``orders`` how many of them there are; then means with
    standard deviations.
    """

    numbers: Sequence[int]
    seeds: int
    orders: int
    accuracy: tuple[float, float]
    forgetting: tuple[float, float] | None


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write one page about several runs.

    Raises:
        UserError: fewer than two, one twice, or a folder that holds no run.
    """
    if len({folder.resolve() for folder in folders}) != len(folders) or len(folders) < 2:
        raise UserError("a comparison needs two runs or more, each once", seen=len(folders))
    runs = [
        _view(number, folder, folders, folders[0] if number > 1 else None)
        for number, folder in enumerate(folders, 1)
    ]
    names = list(dict.fromkeys(b.name for run in runs for b in run.findings.matrix.benchmarks))
    text = render(
        "many.html.j2",
        version=__version__,
        runs=runs,
        names=names,
        finals=[{p.name: p.last for p in run.findings.matrix.per_benchmark()} for run in runs],
        lines=accuracy_by_step(runs),
        spots=accuracy_by_cost(runs),
        settings=_differing([flat_settings(run.findings.recipe) for run in runs]),
        groups=_groups(runs),
    )
    write_atomically(out, text.encode(errors="replace"))
    return out


def accuracy_by_step(runs: Sequence[RunView]) -> Markup:
    """Average accuracy of each run after each step, numbered at its end."""
    steps = max(len(run.averages) for run in runs)
    axis = Scale.over(score for run in runs for score in run.averages)
    marks, ticks = _grid(axis)
    places = [(step + 0.5) / (steps + 0.5) for step in range(steps)]
    for step, x in enumerate(places):
        title = "base" if step == 0 else str(step)
        marks.append(svg.text(x, BOTTOM + 20, title, "quiet", "middle"))
    ends = []
    for run in runs:
        spots = [
            (x, axis.between(BOTTOM, TOP, score))
            for x, score in zip(places, run.averages, strict=False)
        ]
        css = f"run-line run-{(run.number - 1) % 8}"
        drawn = [svg.stroke(*one, *two, css) for one, two in pairwise(spots)]
        drawn += [svg.dot(x, y, 4, f"run-dot run-{(run.number - 1) % 8}") for x, y in spots]
        last = wording.percent(run.averages[-1])
        marks.append(svg.group(f"{run.number}. {run.name}: {last} at the end", drawn))
        ends.append((spots[-1][0], spots[-1][1], run.number))
    marks += _numbers(ends)
    label = "Average accuracy of each run after each step"
    plot = svg.panel(label, BOTTOM + 34, STEP_WIDTH * steps, marks)
    return svg.chart([svg.labels(28, BOTTOM + 34, ticks), plot])


def accuracy_by_cost(runs: Sequence[RunView]) -> Markup | None:
    """Final average accuracy against the seconds of a whole run; None where none is known."""
    if not all(run.seconds > 0 for run in runs):
        return None
    axis = Scale.over(run.averages[-1] for run in runs)
    longest = max(run.seconds for run in runs)
    marks, ticks = _grid(axis)
    for quarter in range(5):
        seconds = wording.duration(longest * quarter / 4)
        x = 0.04 + 0.86 * quarter / 4
        marks.append(svg.text(x, BOTTOM + 20, seconds, "quiet", "middle"))
    ends = []
    for run in runs:
        x = 0.04 + 0.86 * run.seconds / longest
        y = axis.between(BOTTOM, TOP, run.averages[-1])
        score, spent = wording.percent(run.averages[-1]), wording.duration(run.seconds)
        dot = svg.dot(x, y, 5, f"run-dot run-{(run.number - 1) % 8}")
        marks.append(svg.group(f"{run.number}. {run.name}: {score} in {spent}", [dot]))
        ends.append((x, y, run.number))
    marks += _numbers(ends)
    label = "Final average accuracy of each run against its time"
    plot = svg.panel(label, BOTTOM + 34, 280, marks)
    return svg.chart([svg.labels(28, BOTTOM + 34, ticks), plot])


def _grid(axis: Scale) -> tuple[list[Markup], list[Markup]]:
    marks, ticks = [], []
    for tick in axis.ticks():
        y = axis.between(BOTTOM, TOP, tick)
        marks.append(svg.stroke(0, y, 1, y, "grid"))
        ticks.append(svg.text(1, y + 4, f"{tick:.0f}", "quiet", "end"))
    return marks, ticks


def _numbers(ends: Sequence[tuple[float, float, int]]) -> list[Markup]:
    """Each run's number beside its mark, those that would lie on each other moved apart."""
    marks, taken = [], float("-inf")
    for x, y, number in sorted(ends, key=lambda end: end[1]):
        taken = max(y, taken + SPREAD)
        marks.append(svg.text(x, taken + 4, str(number), "strong", shift=9))
    return marks


def _view(number: int, folder: Path, folders: Sequence[Path], first: Path | None) -> RunView:
    findings = read_findings(folder)
    total = costs.total_cost(costs.step_costs(findings.seconds))
    resolved = folder.resolve()
    alone = sum(other.resolve().name == resolved.name for other in folders) == 1
    return RunView(
        number,
        resolved.name if alone else f"{resolved.parent.name}/{resolved.name}",
        findings,
        total.total,
        total.seconds["glance"] + total.seconds["choose"],
        total.seconds["train"],
        compare_runs(first, folder) if first else None,
    )


def _differing(settings: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Settings in which not all runs agree, by key."""
    keys = dict.fromkeys(key for one in settings for key in one)
    found = {key: [str(one.get(key, "-")) for one in settings] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _groups(runs: Sequence[RunView]) -> list[Group]:
    """Runs of one recipe with several seeds, or its tasks in several orders."""
    alike: dict[str, list[RunView]] = {}
    for run in runs:
        recipe = dict(run.findings.recipe)
        tasks = sorted(repr(sorted(task.items())) for task in recipe.pop("tasks", ()))
        recipe.pop("seed", None)
        settings = sorted(flat_settings(recipe).items())
        alike.setdefault(repr((tasks, settings)), []).append(run)
    return [_group(those) for those in alike.values() if len(those) > 1]


def _group(runs: Sequence[RunView]) -> Group:
    recipes = [run.findings.recipe for run in runs]
    lost = [run.findings.matrix.forgetting("max-drop") for run in runs]
    known = [value for value in lost if value is not None]
    return Group(
        [run.number for run in runs],
        len({recipe.get("seed") for recipe in recipes}),
        len({repr(recipe.get("tasks")) for recipe in recipes}),
        _spread([run.averages[-1] for run in runs]),
        _spread(known) if len(known) == len(lost) else None,
    )


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return mean(values), stdev(values)
