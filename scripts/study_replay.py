"""Does a replay chosen by the expected drops keep more than one at random? The plan's last part.

Training is sequential but for a tenth of the rows, which are old ones: at random, or first those
of the skills that would fall furthest without. ``python scripts/study_replay.py runs/study`` makes
what is not there of the runs, below ``runs/study/replay``, and writes docs/replay.json.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import stages.walk
from adaptinf.console import make_console, quiet_libraries
from adaptinf.data.pool import read_pool
from adaptinf.evaluation.answered import read_matrix, step_folder
from adaptinf.evaluation.drops import SHARES, Standing, expected_drop, named_skills, own_rows
from adaptinf.evaluation.matrix import AccuracyMatrix
from config import load_recipe
from selection import Pool, select
from stages.context import Context, Step
from stages.manager import open_context, run_lifelong
from stages.seals import are_sealed
from stages.select import selection_table
from stages.sharing import share_stages
from stages.work import Counts, Progress, Work, derived_seed
from study_plan import BASE, Cell, read_plan
from study_results import SCORED, ended, interval
from study_runs import claimed, make_world

ROOT = Path(__file__).parents[1]
ARMS = ("fixed", "expected")
SEEDS = (0, 1, 2)
SHARE = 0.1
"""Of the rows of a step, old ones."""


def replaying(arm: str, context: Context, step: Step, ingest: Work, *_: Work | None) -> Work:
    """The selection of a step, in place of the product's own."""
    budget, seed = context.recipe.select.budget, context.recipe.seed
    return Work(
        step=step.name,
        stage="select",
        version=1,
        settings={"replay": arm, "share": SHARE, "budget": budget, "seed": seed},
        inputs={"ingest": ingest.fingerprint},
        folder=context.run / "steps" / step.name / "select",
        perform=partial(
            _select, arm, context.run, budget, derived_seed(seed, step.index, "replay")
        ),
        reads=(ingest.folder,),
    )


def _select(arm: str, run: Path, budget: int, seed: int, folder: Path, _: Progress) -> Counts:
    """New rows at random, as many with either arm, and a tenth old ones."""
    step = folder.parent
    pool = read_pool(step / "ingest" / "pool.parquet")
    number, rng = int(step.name.split("-", 1)[0]), np.random.default_rng(seed)
    arrived = pool.numbers("arrived")
    old = rng.permutation(np.flatnonzero(arrived < number))
    new = rng.permutation(np.flatnonzero(arrived == number))
    few = round(SHARE * budget) if number > 1 else 0
    if arm == "expected" and few:
        matrix = read_matrix(run)
        steps = [step_folder(run, matrix.steps, row) for row in range(1, number)]
        old = order_by_drops(pool.table, old, matrix, [*steps, step], few, budget)
    chosen = np.sort(np.concatenate([new[: budget - few], old[:few]]))
    rows = pool.take(chosen)
    outcome = select(Pool(rows.uids, groups=rows.strings("dataset")), len(rows), "random", seed)
    rows = rows.take(outcome.indices)
    pq.write_table(selection_table(rows, outcome.table), folder / "selection.parquet")
    (folder / "summary.json").write_text(json.dumps(outcome.summary, indent=1) + "\n")
    left = len(pool) - len(rows)
    return Counts(len(pool), len(rows), {"not-selected": left} if left else {})


def order_by_drops(
    rows: pa.Table,
    old: NDArray[np.int64],
    matrix: AccuracyMatrix,
    steps: Sequence[Path],
    few: int,
    budget: int,
) -> NDArray[np.int64]:
    """Old rows of a pool, those first that spare most by the table of drops, then the others.

    Greedily: of all skills the one whose next band of share spares most points for each row.
    ``old`` gives the order within a skill, and of the rest.
    """
    skills = _skills(rows, old, matrix, steps)
    taken = dict.fromkeys(skills, 0)
    while True:
        moves = {}
        for name, (levels, own) in skills.items():
            for more in _bands(taken[name], budget):
                if more <= min(len(own), few - sum(taken.values()) + taken[name]):
                    spared = _points(levels, taken[name], budget) - _points(levels, more, budget)
                    moves[name, more] = spared / (more - taken[name])
        best = max(moves, key=moves.__getitem__, default=None)
        if best is None or moves[best] <= 0:
            break
        taken[best[0]] = best[1]
    first = np.concatenate([own[: taken[name]] for name, (_, own) in skills.items()])
    return np.concatenate([first, old[~np.isin(old, first)]])


def _skills(
    rows: pa.Table, old: NDArray[np.int64], matrix: AccuracyMatrix, steps: Sequence[Path]
) -> dict[str, tuple[list[float], NDArray[np.int64]]]:
    """Levels of the benchmarks that have the same rows, and those rows in their order."""
    number, found = len(steps), {}
    named = named_skills(matrix, steps)
    for column, level in zip(matrix.benchmarks, matrix.scores[number - 1].tolist(), strict=True):
        learned = column.learned_at
        if learned is not None and learned < number:
            own_name = column.skill in named[learned]
            name = column.skill if own_name else steps[learned - 1].name
            own = own_rows(rows, column, named)
            found.setdefault(name, ([], old[own[old]]))[0].append(level)
    return found


def _bands(rows: int, budget: int) -> list[int]:
    """Numbers of rows at which the further bands of share begin."""
    return [least for share in SHARES if (least := max(1, math.ceil(share * budget))) > rows]


def _points(levels: Sequence[float], rows: int, budget: int) -> float:
    """What benchmarks at these levels are expected to lose in all."""
    return sum(expected_drop(Standing("", level, rows, budget).cell)[0] for level in levels)


def make(arm: str, seed: int, runs: Path) -> Path:
    """Make a run, or go on with it; its folder."""
    plan, cell = read_plan(), Cell("main", "sequential", seed)
    run = runs / "replay" / f"{arm}-{seed}"
    with claimed(run) as mine:
        if mine and not are_sealed(run):
            make_world(runs, plan.world_of(cell), seed)
            recipe = load_recipe(BASE, [*plan.overrides(cell, runs), f"output_dir={run}"])
            stages.walk.select_work = partial(replaying, arm)
            kept = [folder for folder in (runs / "main").glob(f"*-{seed}") if are_sealed(folder)]
            share_stages(open_context(recipe), sorted(kept))
            with (run / "log.txt").open("a") as log:
                run_lifelong(recipe, make_console(run / "events.jsonl", log))
    return run


def results_of(runs: Path) -> dict[str, Any]:
    """Figures of either arm over seeds, and their paired differences: expected minus fixed."""
    world = read_plan().world_of(Cell("main", "sequential", 0))
    found = {
        arm: [ended(runs / "replay" / f"{arm}-{seed}", world).figures for seed in SEEDS]
        for arm in ARMS
    }
    return {
        "seeds": len(SEEDS),
        "share": SHARE,
        "arms": {
            arm: {name: interval([run[name] for run in figures]) for name in SCORED}
            for arm, figures in found.items()
        },
        "difference": {
            name: interval(
                [b[name] - a[name] for a, b in zip(*(found[arm] for arm in ARMS), strict=True)]
            )
            for name in SCORED
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Make the runs and write what came of them; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the study's runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/replay.json")
    options = parser.parse_args(arguments)
    quiet_libraries()
    runs = options.runs.absolute()
    for seed in SEEDS:
        for arm in ARMS:
            make(arm, seed, runs)
    options.out.write_text(json.dumps(results_of(runs), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
