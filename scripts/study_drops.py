"""The table that a coming step's drops are looked up in, and how far it holds.

A case is a run of the study, a step from the second on, and a benchmark taught before it, with the
standing that a run sees before the step trains. ``python scripts/study_drops.py runs/study`` writes
``drops.json`` beside ``adaptinf/evaluation/drops.py``, and docs/expected_drops.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from sklearn.metrics import r2_score

from adaptinf.errors import UserError
from adaptinf.evaluation import drops
from adaptinf.evaluation.answered import read_matrix, step_folder
from adaptinf.evaluation.drops import LARGE, LEVELS, SHARES, Cell, standings
from selection.names import FEATURELESS
from stages.seals import are_sealed
from study_plan import Cell as Run
from study_plan import Plan, read_plan

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("run", "seed", "way", "setting")
ASIDE = "cheap"
"""The plan's table of runs that are trained otherwise: drops are told of them, not from them."""


@dataclass(frozen=True, slots=True)
class Case:
    """A benchmark before a step, and the points that it then lost."""

    run: str
    cell: Cell
    drop: float
    is_featured: bool

    @property
    def setting(self) -> str:
        """The setting of the study's plan that the run was made in."""
        return self.run.split("/")[0]

    @property
    def way(self) -> str:
        """The way of the plan that it went, with whatever budget."""
        return self.run.split("/")[1].rsplit("-", 1)[0].removesuffix("-equal-cost")

    @property
    def seed(self) -> str:
        """Its seed."""
        return self.run.rsplit("-", 1)[1]


def cases_of(folder: Path) -> list[Case]:
    """All cases of a finished run, which is in ``SETTING/WAY-SEED``."""
    recipe = yaml.safe_load((folder / "config.resolved.yaml").read_text())
    featured = recipe["select"]["method"] not in FEATURELESS
    matrix, name = read_matrix(folder), f"{folder.parent.name}/{folder.name}"
    steps = [step_folder(folder, matrix.steps, row) for row in range(1, len(matrix.steps))]
    place = {column.name: at for at, column in enumerate(matrix.benchmarks)}
    cases = []
    for row in range(2, len(matrix.steps)):
        for standing in standings(matrix, steps[:row]):
            after = matrix.scores[row, place[standing.benchmark]]
            cases.append(Case(name, standing.cell, standing.level - float(after), featured))
    return cases


def table_of(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Mean drop and number of cases of every cell.

    Raises:
        UserError: a cell that no case is in.
    """
    drops = defaultdict(list)
    for case in cases:
        drops[case.cell].append(case.drop)
    every = [(lev, share) for lev in range(len(LEVELS) + 1) for share in range(len(SHARES) + 1)]
    if empty := [cell for cell in every if cell not in drops]:
        raise UserError("no run of the study has a benchmark in some cells", seen=empty)
    return [
        {
            "level": cell[0],
            "share": cell[1],
            "drop": _short(np.mean(drops[cell])),
            "cases": len(drops[cell]),
        }
        for cell in every
    ]


def held(cases: Sequence[Case], others: Sequence[Case]) -> dict[str, Any]:
    """How well a table of the rest tells drops, with whole runs, seeds, ways or settings left out.

    R2 over all cases; then, with runs left out, of ways that select by features and of all other
    ways; and of ``others``, which the table of all cases has not seen.
    """
    drop = np.array([case.drop for case in cases])
    told = {by: _left_out(cases, by) for by in LEFT_OUT}
    featured = np.array([case.is_featured for case in cases])
    return {
        "cases": len(cases),
        "runs": len({case.run for case in cases}),
        "r2": {by: _short(r2_score(drop, said)) for by, said in told.items()},
        "all": _told(drop, told["run"]),
        "featured": _told(drop[featured], told["run"][featured]),
        "featureless": _told(drop[~featured], told["run"][~featured]),
        "others": _told(np.array([c.drop for c in others]), _tell(cases, others))
        if others
        else None,
    }


def _left_out(cases: Sequence[Case], by: str) -> NDArray[np.float64]:
    """What is told of each case [n] by those of other groups."""
    groups = np.array([getattr(case, by) for case in cases])
    told = np.empty(len(cases))
    for group in np.unique(groups):
        out = groups == group
        rest = [case for case, is_out in zip(cases, out, strict=True) if not is_out]
        told[out] = _tell(rest, [case for case, is_out in zip(cases, out, strict=True) if is_out])
    return told


def _tell(known: Sequence[Case], asked: Sequence[Case]) -> NDArray[np.float64]:
    """The mean drop in the cell of each that is asked [n]; that of all where the cell is empty."""
    drops = defaultdict(list)
    for case in known:
        drops[case.cell].append(case.drop)
    mean = np.mean([case.drop for case in known])
    return np.array([np.mean(drops[c.cell]) if c.cell in drops else mean for c in asked])


def _told(drop: NDArray[np.float64], told: NDArray[np.float64]) -> dict[str, Any]:
    """R2, and how many large drops there are, were told, and of how many warnings."""
    real, warned = drop >= LARGE, told >= LARGE
    return {
        "cases": len(drop),
        "r2": _short(r2_score(drop, told)),
        "drops": int(real.sum()),
        "warnings": int(warned.sum()),
        "right": int((real & warned).sum()),
    }


def _short(value: float) -> float:
    return round(float(value), 3) + 0.0  # -0.0 is 0.0


def finished(runs: Path, cells: Sequence[Run]) -> list[Run]:
    """The runs that are finished and have steps after the first."""
    return [
        cell
        for cell in cells
        if are_sealed(runs / cell.name) and len(read_matrix(runs / cell.name).steps) > 2
    ]


def cells_of(plan: Plan) -> tuple[list[Run], list[Run]]:
    """The runs that the table is made of, and those that it is tried on: trained otherwise.

    Not of either are those that rehearse, of which it says nothing.
    """
    tables = [table.name for table in plan.tables if table.name != ASIDE]
    ways = [way for way, laid in plan.ways.items() if not laid.get("rehearse.rows")]
    known = plan.cells(tables, ways, ())
    return known, [cell for cell in plan.cells([ASIDE], (), ()) if cell not in known]


def main(arguments: list[str] | None = None) -> int:
    """Read the runs; write the table, the numbers and the page; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the study's runs")
    shipped = Path(drops.__file__).with_suffix(".json")
    parser.add_argument("--table", type=Path, default=shipped, help="what is shipped")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs/expected_drops", help="without suffix"
    )
    options = parser.parse_args(arguments)
    from study_drops_page import page_of

    wanted, aside = cells_of(read_plan())
    there = finished(options.runs, wanted)
    cases, others = (
        [case for cell in cells for case in cases_of(options.runs / cell.name)]
        for cells in (there, finished(options.runs, aside))
    )
    try:
        cells = table_of(cases)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    replay = json.loads((ROOT / "docs" / "replay.json").read_text())
    found = {
        "missing": [c.name for c in wanted if c not in there and c.way != "multitask"],
        "cells": cells,
        "held": held(cases, others),
    }
    options.table.write_text(json.dumps({"cells": cells}, indent=1) + "\n")
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(page_of(found, replay))
    return 0


if __name__ == "__main__":
    sys.exit(main())
