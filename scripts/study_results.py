"""What the finished runs of the study show: figures of each way, and paired differences."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from scipy.stats import t as student

from adaptinf.errors import UserError
from adaptinf.evaluation.matrix import AccuracyMatrix
from selection.names import FEATURELESS
from stages.seals import are_sealed
from study_plan import Cell, Plan, Table, rare_skills

LEVEL = 0.95
FEWEST = 3
"""Seeds that an interval is told of."""
CHOOSING = ("glance", "featurize", "select", "prune")
TRAINING = ("rehearse", "train")
SIGNS = {
    "average_accuracy": 1,
    "forgetting_end_drop": -1,
    "rare_skill_accuracy": 1,
    "learning_accuracy": 1,
    "selection_cost_share": -1,
    "choosing_and_training_seconds": -1,
}
"""Figures of a run, and whether more (1) or less (-1) of it is better."""
SCORED = ("average_accuracy", "forgetting_end_drop", "rare_skill_accuracy", "learning_accuracy")
ASKED = ("average_accuracy", "forgetting_end_drop")
"""What the question is answered by: first the primary measure."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished run: its figures (None: undefined) and the last score of each benchmark."""

    figures: dict[str, float | None]
    finals: dict[str, float]


def results_of(plan: Plan, runs: Path) -> dict[str, Any]:
    """Everything that ``docs/results.json`` holds.

    A way has the seeds that are finished, a difference those that both have. Left out are tables
    that hold nothing against anything, and those of whose own runs none is finished. Raises
    ``UserError`` where nothing is finished.
    """
    book = _Book(plan, runs)
    cells = plan.cells((), (), ())
    missing = [cell.name for cell in cells if book.of(cell) is None]
    if len(missing) == len(cells):
        raise UserError("no run of the study is finished", where=str(runs))
    first, *rest = plan.tables
    known = set(plan.cells([first.name], (), ()))
    begun = [table for table in rest if table.against and _begun(book, table, known)]
    held = [first, *begun]
    return {
        "primary": plan.primary,
        "default": plan.default,
        "measure": plan.measure,
        "seeds": first.seeds,
        "level": LEVEL,
        "runs": len(cells) - len(missing),
        "missing": missing,
        "pool": _pool(book, first),
        "rare_skills": rare_skills(plan.world_of(Cell(first.setting, plan.primary, 0))),
        "against": list(first.against),
        "title": first.title,
        "summary": _rows(book, first),
        "bill": _bill(book),
        "tables": [_table(book, table) for table in begun],
        "answers": [answer for table in held for answer in _answers(book, table)],
        "losses": [loss for table in held for loss in _losses(book, table)],
        "skills": _skills(book, first),
    }


def _begun(book: _Book, table: Table, known: set[Cell]) -> bool:
    """Whether a run is finished that the summary has not."""
    cells = book.plan.cells([table.name], (), ())
    return any(book.of(cell) is not None for cell in cells if cell not in known)


def _bill(book: _Book) -> list[dict[str, Any]]:
    """Whether choosing costs at most what training does, as published and by default."""
    lines = []
    for way in dict.fromkeys((book.plan.primary, book.plan.default)):
        tables = [table for table in book.plan.tables if way in table.ways]
        shares = book.column(tables[0], way, "selection_cost_share") if tables else {}
        if shares:
            told = interval(list(shares.values()))
            lines.append({"method": way, "seeds": len(shares), **told, "kept": told["mean"] <= 1})
    return lines


class _Book:
    """The runs by cell, each read once."""

    def __init__(self, plan: Plan, runs: Path) -> None:
        self.plan = plan
        self.runs = runs
        self.of = cache(self._of)

    def _of(self, cell: Cell) -> Ended | None:
        folder = self.runs / cell.name
        return ended(folder, self.plan.world_of(cell)) if are_sealed(folder) else None

    def column(self, table: Table, way: str, figure: str) -> dict[int, float]:
        """A figure of a way by seed, where it is there and defined."""
        found = {seed: self.of(Cell(table.setting, way, seed)) for seed in range(table.seeds)}
        values = {seed: run.figures[figure] for seed, run in found.items() if run}
        return {seed: value for seed, value in values.items() if value is not None}


def ended(folder: Path, world: str) -> Ended:
    """What a finished run in a world has come to."""
    matrix = AccuracyMatrix.from_json((folder / "matrix.json").read_text())
    finals = {path.name: path.last for path in matrix.per_benchmark()}
    rare = [finals[name] for name in rare_skills(world) if name in finals]
    choosing, training = cpu_seconds(json.loads((folder / "cost.json").read_text())["steps"])
    figures = {
        "average_accuracy": matrix.average_accuracy(),
        "forgetting_end_drop": matrix.forgetting("end-drop"),
        "rare_skill_accuracy": statistics.mean(rare) if rare else None,
        "learning_accuracy": matrix.learning_accuracy(),
        "selection_cost_share": choosing / training,
        "choosing_and_training_seconds": choosing + training,
    }
    return Ended(figures, finals)


def cpu_seconds(steps: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """CPU seconds of choosing and of training in all steps of a ``cost.json``.

    A step without a feature pass chooses at random: its pruning prunes nothing and is not counted.
    """
    choosing = training = 0.0
    for step in steps:
        stages = step["stages"]
        counted = CHOOSING if "featurize" in stages else ("select",)
        choosing += sum(stages[name]["cpu_seconds"] for name in counted if name in stages)
        training += sum(stages[name]["cpu_seconds"] for name in TRAINING if name in stages)
    return choosing, training


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and its 95 % interval by Student's t over seeds; none of fewer than three seeds."""
    mean = statistics.mean(values)
    if len(values) < FEWEST:
        return {"mean": round(mean, 3), "low": None, "high": None}
    margin = student.ppf((1 + LEVEL) / 2, len(values) - 1) * statistics.stdev(values)
    margin /= math.sqrt(len(values))
    return {
        "mean": round(mean, 3),
        "low": round(mean - margin, 3),
        "high": round(mean + margin, 3),
    }


def _table(book: _Book, table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "seeds": table.seeds,
        "against": list(table.against),
        "rows": _rows(book, table),
    }


def _rows(book: _Book, table: Table) -> list[dict[str, Any]]:
    """A row for each way of which a run is finished."""
    rows = [_row(book, table, way) for way in table.ways]
    return [row for row in rows if row["seeds"]]


def _row(book: _Book, table: Table, way: str) -> dict[str, Any]:
    """A way's figures, each with its paired difference to those of ``against``."""
    finished = [seed for seed in range(table.seeds) if book.of(Cell(table.setting, way, seed))]
    row: dict[str, Any] = {"method": way, "seeds": len(finished)}
    for figure in SIGNS:
        values = book.column(table, way, figure)
        if not values:
            row[figure] = None
            continue
        told = {**interval(list(values.values())), "values": _rounded(values)}
        for other in table.against:
            told[f"vs_{other}"] = _paired(book, table, way, other, figure)
        row[figure] = told
    return row


def _paired(
    book: _Book, table: Table, way: str, other: str, figure: str
) -> dict[str, float | None] | None:
    """Mean of a way's figure minus another's over the seeds of both; None for itself."""
    if way == other:
        return None
    one, two = book.column(table, way, figure), book.column(table, other, figure)
    apart = [one[seed] - two[seed] for seed in one if seed in two]
    return interval(apart) if apart else None


def _answers(book: _Book, table: Table) -> list[dict[str, Any]]:
    """Is it better? Yes where the whole interval says so, else no.

    Asked of the primary method against all that the table holds it against; where that is itself
    among these, of every other way against the primary one.
    """
    primary = book.plan.primary
    if primary in table.against:
        contests = [(way, primary) for way in table.ways if way not in table.against]
    else:
        contests = [(primary, other) for other in table.against if primary in table.ways]
    answers = []
    for way, other in contests:
        for figure in ASKED:
            apart = _paired(book, table, way, other, figure)
            if apart is not None:
                told = {"table": table.title, "at": table.at, "method": way, "against": other}
                verdict = _verdict(apart, SIGNS[figure])
                answers.append({**told, "figure": figure, **apart, **verdict})
    return answers


def _verdict(apart: dict[str, float | None], sign: int) -> dict[str, str]:
    """Yes, or no and why."""
    ends = (apart["low"], apart["high"])
    if None in ends:
        return {"answer": "no", "why": f"fewer than {FEWEST} seeds tell nothing"}
    low, high = sorted(sign * end for end in ends)
    if low > 0:
        return {"answer": "yes", "why": "the interval is on the better side of 0"}
    worse = high < 0
    return {"answer": "no", "why": "worse" if worse else "the interval holds 0"}


def _losses(book: _Book, table: Table) -> list[dict[str, Any]]:
    """Where a method that looks at the rows is worse, on average, than drawing at random."""
    losses = []
    random = table.against[0]
    for way in table.ways:
        method = book.plan.ways[way].get("select.method", book.plan.primary)
        if method in FEATURELESS:
            continue
        for figure in SCORED:
            apart = _paired(book, table, way, random, figure)
            if apart is not None and SIGNS[figure] * apart["mean"] < 0:
                sure = _verdict(apart, -SIGNS[figure])["answer"] == "yes"
                told = {"table": table.title, "method": way, "against": random, "figure": figure}
                losses.append({**told, **apart, "beyond_chance": sure})
    return losses


def _skills(book: _Book, table: Table) -> list[dict[str, Any]]:
    """The last score of each benchmark, of the primary method and of those it is held against."""
    finals: dict[str, dict[int, dict[str, float]]] = {}
    for way in (*table.against, book.plan.primary):
        found = {seed: book.of(Cell(table.setting, way, seed)) for seed in range(table.seeds)}
        finals[way] = {seed: run.finals for seed, run in found.items() if run}
    primary, random = finals[book.plan.primary], finals[table.against[0]]
    both = [seed for seed in primary if seed in random]
    if not both:
        return []
    return [
        {
            "skill": name,
            **{way: _mean(runs, name) for way, runs in finals.items()},
            "difference": interval([primary[seed][name] - random[seed][name] for seed in both]),
        }
        for name in primary[both[0]]
    ]


def _mean(runs: dict[int, dict[str, float]], name: str) -> float | None:
    return round(statistics.mean(run[name] for run in runs.values()), 3) if runs else None


def _pool(book: _Book, table: Table) -> dict[str, float] | None:
    """Rows that the last step of the primary method could select from, against those it took."""
    for seed in range(table.seeds):
        cell = Cell(table.setting, book.plan.primary, seed)
        if book.of(cell) is not None:
            steps = (book.runs / cell.name / "steps").iterdir()
            last = max(steps, key=lambda step: int(step.name.split("-")[0]))
            rows = pq.read_metadata(last / "ingest" / "pool.parquet").num_rows
            budget = json.loads((last / "select" / "summary.json").read_text())["budget"]
            return {"rows": rows, "budget": budget, "times": round(rows / budget, 1)}
    return None


def _rounded(values: dict[int, float]) -> dict[str, float]:
    return {str(seed): round(value, 3) for seed, value in values.items()}
