"""Runs the walk: skips what is done, does what is not, writes the results as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from adaptinf.console import Console, make_console
from adaptinf.data.names import DATASETS
from adaptinf.data.source import fetching
from adaptinf.data.world import build_world
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.files import write_atomically
from adaptinf.notice import Interrupted, Notice
from config import Recipe, resolved_yaml
from stages.cards import write_step_card
from stages.context import Context, Step
from stages.environment import write_environment
from stages.failure import failures_told, forget_failures
from stages.heartbeat import Pulse
from stages.leftovers import pending_works, put_damaged_away, tell_strays
from stages.lock import locked
from stages.logs import LOG, logged
from stages.outlook import tell_outlook
from stages.reports import tables_of, write_run_report
from stages.results import Bill, Spent, build_matrix
from stages.run_recipe import for_its_run
from stages.seals import seal_results
from stages.walk import plan_walk
from stages.watch import watched
from stages.work import Heeding, Progress, Silent, Work


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
        known = [task for task in recipe.tasks if task.dataset in DATASETS]
        limits = [task.limit for task in known if task.limit is not None]
        most = max(limits) if limits and len(limits) == len(known) else None
        command = fetching([task.dataset for task in known], folder, most)
        raise UserError(
            "the folder of the datasets is not there",
            where="data.root",
            seen=str(folder),
            hint=f"`{command}` makes it; or use 'embedded' for the small world that is shipped",
        )
    return Context(recipe, folder, scratch, ranks)


@dataclass(frozen=True, slots=True)
class _Company:
    """Who hears of the work: people, other processes; and whether it is to end."""

    console: Console
    pulse: Pulse
    notice: Notice

    def perform(self, work: Work, shown: Progress, ranks: Ranks) -> Mapping[str, Any]:
        """Run one work, from wherever an earlier try ended."""
        LOG.info("begin %s", work.name)
        record = work.run(Heeding(self.pulse.begin(work, shown), self.notice), ranks)
        self.pulse.end()
        LOG.info("done %s", work.name)
        return record


def run_lifelong(
    recipe: Recipe, console: Console, *, fresh: bool = False, notice: Notice | None = None
) -> Finished:
    """The whole run, from wherever an earlier try ended.

    A ``notice`` is heeded between the batches of every stage.

    Raises:
        UserError: a finished stage was made with another recipe and ``fresh`` is not given.
    """
    run, ranks, notice = recipe.output_dir, Ranks.of_launch(), notice or Notice()
    run.mkdir(parents=True, exist_ok=True)
    with locked(run):
        given, recipe = recipe, for_its_run(recipe, fresh=fresh)
        for task in given.tasks:
            if task not in recipe.tasks:
                console.line(f"{task.label} was withdrawn from this run; it is left out")
        forget_failures(run)
        with (
            logged(run, ranks),
            failures_told(recipe, notice),
            ranks.stopping_together(),
            watched(recipe, ranks) as pulse,
        ):
            put_damaged_away(run, console)
            context = open_context(recipe, ranks=ranks)
            performed = _run(context, _Company(console, pulse, notice), fresh=fresh)
            return Finished(tables_of([run]), run / "report.html", performed)


def follow(recipe: Recipe, notice: Notice | None = None, *, fresh: bool = False) -> None:
    """What all ranks of a launch do but the leader: their share of the stages that are shared."""
    ranks, notice = Ranks.of_launch(), notice or Notice()
    recipe = for_its_run(recipe, fresh=fresh)
    with (
        logged(recipe.output_dir, ranks),
        failures_told(recipe, notice),
        ranks.stopping_together(),
        watched(recipe, ranks) as pulse,
    ):
        company = _Company(make_console(None), pulse, notice)
        # The leader has written the embedded world, and removed what is to be made anew.
        ranks.meet()
        context = open_context(recipe, ranks=ranks)
        walk = plan_walk(context)
        ranks.meet()
        for works in walk:
            for work in works.ordered:
                # Asked now: a stage before it may have been made anew, and written other bytes.
                if work.done() is None:
                    company.perform(work, Silent(), ranks)
        ranks.part()


def _run(context: Context, company: _Company, *, fresh: bool) -> int:
    """Do all that is to be done; how many stages that were."""
    run, ranks, console = context.run, context.ranks, company.console
    walk = plan_walk(context)
    ordered = [work for works in walk for work in works.ordered]
    pending = pending_works(ordered, console, fresh=fresh)
    asked = ("evaluate", "overlap")
    context.ready_benchmarks({w.folder.name for w in pending if w.stage in asked})
    ranks.meet()  # the others may look at what is here, and
    ranks.meet()  # have seen what is pending before it is begun
    write_atomically(run / "config.resolved.yaml", resolved_yaml(context.recipe))
    write_environment(context)
    tell_strays(context, console)
    bill = Bill(run / "cost.json")
    file = _MatrixFile(run / "matrix.json")
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
                if todo[0].stage == "train":
                    tell_outlook(context, walk[: position + 1], console)
                _perform(todo, works.step, context, company, bill)
                performed += len(todo)
        if performed > before or position == len(walk) - 1:
            matrix = build_matrix(context, walk[: position + 1])
            file.write(matrix, final=position == len(walk) - 1)
            if performed > before and works.train:
                write_step_card(context, works.step, matrix)
    if performed or not (run / "report.html").is_file():
        for works in walk[1:]:
            write_step_card(context, works.step, matrix)
        write_run_report(run)
    seal_results(run)
    console.event("run_finished", performed=performed)
    ranks.part()
    return performed


def _units(work: Work, context: Context) -> float:
    """What a stage weighs in the run's remaining time: roughly its seconds in the quickstart."""
    if work.stage == "overlap":
        return 0.8 / len(context.benchmarks)
    if work.stage == "evaluate":
        return 6.5 * (work.rows or 0) / context.question_count
    return {"glance": 3.0, "featurize": 16.0, "train": 10.0, "rehearse": 3.0, "ingest": 1.3}.get(
        work.stage, 0.1
    )


def _perform(
    works: Sequence[Work], step: Step, context: Context, company: _Company, bill: Bill
) -> None:
    """Run works of one stage under one line of the console."""
    stage, console = works[0].stage, company.console
    units = sum(_units(work, context) for work in works)
    with console.stage(
        task=step.label, index=step.index, total=len(context.steps), stage=stage, units=units
    ) as progress:
        if all(work.rows is not None for work in works):
            progress.total(sum(work.rows or 0 for work in works))
        for work in works:
            company.notice.heed()
            started = Spent.now()
            try:
                counts = company.perform(work, progress, context.ranks)["counts"]
            except Interrupted:
                bill.add(step.name, stage, Spent.now().since(started), 0)
                raise
            bill.add(step.name, stage, Spent.now().since(started), counts["in"])
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
