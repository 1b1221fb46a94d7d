"""Runs the walk: skips what is done, does what is not, writes the results as it goes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from adaptinf.console import Console
from adaptinf.data.names import DATASETS
from adaptinf.data.world import build_world
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.files import write_atomically
from adaptinf.notice import Notice
from config import Recipe, resolved_yaml
from stages.context import BASE, Context, Step
from stages.environment import write_environment
from stages.integrity import Inspection, mark_unsound
from stages.lock import locked
from stages.record import DONE
from stages.reports import tables_of, write_run_report
from stages.results import Bill, build_matrix
from stages.seals import damaged_results, seal_results, unseal_results
from stages.walk import plan_walk
from stages.work import Heeding, Silent, Work


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run ended with: the forgetting table, and whether there was anything to do."""

    table: str
    report: Path
    performed: int


def open_context(
    recipe: Recipe, scratch: Path | None = None, ranks: Ranks | None = None
) -> Context:
    """The run's context; writes the embedded world where the recipe uses it.

    It is written into the run folder, or into ``scratch`` for a look that leaves no trace. A recipe
    that names no root and has only files of its own needs no world: its root is its own folder.
    """
    folder = recipe.data.folder
    own = all(task.dataset not in DATASETS for task in recipe.tasks)
    if recipe.data.root is None and folder is None and own:
        folder = recipe.recipe_dir
    elif folder is None:
        folder = build_world((scratch or recipe.output_dir) / "world", recipe.seed)
    elif not folder.is_dir():
        raise UserError(
            "the folder of the datasets is not there",
            where="data.root",
            seen=str(folder),
            hint="create it, or use 'embedded' for the small world that is shipped",
        )
    return Context(recipe, folder, scratch, ranks)


def run_lifelong(
    recipe: Recipe, console: Console, *, fresh: bool = False, notice: Notice | None = None
) -> Finished:
    """The whole run, from wherever an earlier try ended.

    A ``notice`` is heeded between the batches of every stage.

    Raises:
        UserError: a finished stage was made with another recipe and ``fresh`` is not given.
    """
    recipe.output_dir.mkdir(parents=True, exist_ok=True)
    with locked(recipe.output_dir):
        return _run(recipe, console, fresh=fresh, notice=notice or Notice())


def follow(recipe: Recipe, notice: Notice | None = None) -> None:
    """What all ranks of a launch do but the leader: their share of the stages that are shared."""
    ranks = Ranks.of_launch()
    # The leader has written the embedded world, and removed what is to be made anew.
    ranks.meet()
    context = open_context(recipe, ranks=ranks)
    walk = plan_walk(context)
    ranks.meet()
    progress = Heeding(Silent(), notice or Notice())
    for works in walk:
        for work in works.ordered:
            # Asked now: a stage before it may have been made anew, and written other bytes.
            if work.done() is None:
                work.run(progress, ranks)
    ranks.part()


def _run(recipe: Recipe, console: Console, *, fresh: bool, notice: Notice) -> Finished:
    _clear_damaged(recipe.output_dir, console)
    ranks = Ranks.of_launch()
    context = open_context(recipe, ranks=ranks)
    walk = plan_walk(context)
    ordered = [work for works in walk for work in works.ordered]
    pending = _pending(ordered, console, fresh=fresh)
    asked = ("evaluate", "overlap")
    context.ready_benchmarks({w.folder.name for w in pending if w.stage in asked})
    ranks.meet()  # the others may look at what is here, and
    ranks.meet()  # have seen what is pending before it is begun
    write_atomically(recipe.output_dir / "config.resolved.yaml", resolved_yaml(recipe))
    write_environment(context)
    _tell_strays(context, console)
    bill = Bill(recipe.output_dir / "cost.json")
    file = _MatrixFile(recipe.output_dir / "matrix.json")
    total = sum(_units(work, context) for work in ordered)
    console.run_started(total, total - sum(_units(work, context) for work in pending))
    performed = 0
    for position, works in enumerate(walk):
        before = performed
        for _, group in groupby(works.ordered, key=lambda work: work.stage):
            # Asked now: a stage before it may have been made anew, and written other bytes.
            todo = [work for work in group if work.done() is None]
            if todo:
                context.ready_benchmarks({w.folder.name for w in todo if w not in pending})
                _perform(todo, works.step, context, console, bill, notice)
                performed += len(todo)
        if performed > before or position == len(walk) - 1:
            matrix = build_matrix(context, walk[: position + 1])
            file.write(matrix, final=position == len(walk) - 1)
    report = recipe.output_dir / "report.html"
    if performed or not report.is_file():
        write_run_report(recipe.output_dir)
    seal_results(recipe.output_dir)
    console.event("run_finished", performed=performed)
    ranks.part()
    return Finished(tables_of([recipe.output_dir]), report, performed)


def _clear_damaged(run: Path, console: Console) -> None:
    """Put away results that are not as they were written; all are written again.

    What a finished stage has cost is not known a second time: costs then begin anew.
    """
    for name in damaged_results(run):
        console.line(f"{name} is damaged or missing; it is written again")
        with suppress(FileNotFoundError):
            (run / name).replace(run / f"{name}.damaged")
    unseal_results(run)


def _pending(works: Sequence[Work], console: Console, *, fresh: bool) -> list[Work]:
    """The works still to do; with ``fresh`` those made with another recipe are thrown away.

    Damaged ones that these would read are among them.
    """

    def tell(work: Work, found: Inspection) -> None:
        files = [*found.damaged, *found.missing]
        console.line(f"{work.name}: made anew, damaged or missing: {', '.join(files)}")
        console.event("damaged", work=work.name, files=files)

    for work in works:
        if fresh and work.is_drifted():
            shutil.rmtree(work.folder)
    mark_unsound(works, tell)
    return [work for work in works if work.done() is None]


def _units(work: Work, context: Context) -> float:
    """What a stage weighs in the run's remaining time: roughly its seconds in the quickstart."""
    if work.stage == "overlap":
        return 0.8 / len(context.benchmarks)
    if work.stage == "evaluate":
        return 6.5 * (work.rows or 0) / context.question_count
    return {"glance": 3.0, "featurize": 16.0, "train": 10.0, "ingest": 1.3}.get(work.stage, 0.1)


def _perform(
    works: Sequence[Work],
    step: Step,
    context: Context,
    console: Console,
    bill: Bill,
    notice: Notice,
) -> None:
    """Run works of one stage under one line of the console."""
    stage = works[0].stage
    units = sum(_units(work, context) for work in works)
    with console.stage(
        task=step.label, index=step.index, total=len(context.steps), stage=stage, units=units
    ) as shown:
        progress = Heeding(shown, notice)
        if all(work.rows is not None for work in works):
            progress.total(sum(work.rows or 0 for work in works))
        for work in works:
            notice.heed()
            started = time.monotonic()
            counts = work.run(progress, context.ranks)["counts"]
            bill.add(step.name, stage, time.monotonic() - started, counts["in"])
            console.event("counted", work=work.name, **counts)


class _MatrixFile:
    """``matrix.json``, written after each step so that a crash never loses it.

    A matrix of more steps, from before a benchmark was added, stands until the new one has as many.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows = 0
        # One that cannot be read counts for nothing: it is written again.
        with suppress(UserError, OSError, UnicodeDecodeError):
            self._rows = len(AccuracyMatrix.from_json(file.read_text(encoding="utf-8")).steps)

    def write(self, matrix: AccuracyMatrix, *, final: bool) -> None:
        if final or len(matrix.steps) >= self._rows:
            write_atomically(self._file, matrix.to_json())


def _tell_strays(context: Context, console: Console) -> None:
    """Say which step folders belong to no step of the recipe; they are left alone."""
    expected = {BASE.name, *(step.name for step in context.steps)}
    for folder in sorted((context.run / "steps").glob("*-*")):
        if folder.name not in expected and any(folder.rglob(DONE)):
            console.line(f"steps/{folder.name} belongs to no task of this recipe; left as it is")
