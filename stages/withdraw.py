"""``adaptinf withdraw``: a run as if it had never seen a dataset, or some of its rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.console import Console, table
from adaptinf.errors import UserError, suggestion
from config import Recipe
from stages.aside import aside, forget
from stages.context import BASE, Step
from stages.donors import set_aside_whole
from stages.lock import locked
from stages.manager import open_context
from stages.results import Bill
from stages.run_recipe import recipe_of
from stages.seals import unseal_results
from stages.walk import plan_walk
from stages.withdrawn import Withdrawn, without

_RESULTS = ("matrix.json", "report.html")


@dataclass(frozen=True, slots=True)
class Touched:
    """A step, and how many of the withdrawn rows its pool and its training held."""

    step: Step
    pool: int
    trained: int


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What is withdrawn from a run, and what that means.

    ``steps`` are those that are made anew: from the first that held such a row to the last;
    none where an earlier try has removed them. ``absent`` are uids that the run never held.
    """

    run: Path
    recipe: Recipe
    asked: Withdrawn
    steps: tuple[Touched, ...]
    absent: tuple[str, ...]

    def text(self) -> str:
        """For people: what is touched, and what becomes of it."""
        asked = [*self.asked.datasets]
        asked += [f"{len(self.asked.rows)} rows"] if self.asked.rows else []
        lines = [f"{self.run}: withdraw {', '.join(asked)}"]
        if self.absent:
            lines.append(f"{len(self.absent)} of these rows were never in this run")
        if not self.steps:
            return "\n".join([*lines, "no step holds them any more"])
        cells = [
            [each.step.name, f"{each.pool:,}", f"{each.trained:,}", self._fate(each.step)]
            for each in self.steps
        ]
        heads = ["step", "of them in its pool", "of them trained on", "what becomes of it"]
        lines += ["", table(cells, heads), ""]
        lines.append("earlier steps and the base model's answers stay as they are")
        return "\n".join(lines)

    def _fate(self, step: Step) -> str:
        after = {name: index for index, name in enumerate(_labels(self.rest), 1)}
        if step.label not in after:
            return "removed"
        name = Step(after[step.label], step.label).name
        return "made anew" if name == step.name else f"made anew as {name}"

    @property
    def rest(self) -> Recipe:
        """The recipe of what is left."""
        return without(self.recipe, self.asked.datasets)

    @property
    def first(self) -> int:
        """Number of the first step that is made anew; one past the last where none is."""
        return min((each.step.index for each in self.steps), default=len(self.recipe.tasks) + 1)

    def check(self) -> None:
        """Whether all before the first touched step stands, and what comes after can be made.

        Raises:
            UserError: a dataset or a model is not here, no task is left, or a step before was made
                with another recipe.
        """
        for works in plan_walk(open_context(self.rest))[: self.first]:
            for work in works.ordered:
                work.done()

    def carry_out(self, console: Console) -> None:
        """Write down what is withdrawn, and remove all that came of it.

        Features of the first touched step are kept until that is made anew: a batch without a
        withdrawn row need not be computed again.
        """
        with locked(self.run):
            Withdrawn.read(self.run).with_more(self.asked.datasets, self.asked.rows).write(self.run)
            console.event("withdrawn", datasets=self.asked.datasets, rows=len(self.asked.rows))
            if not self.steps:
                return
            unseal_results(self.run)
            for name in _RESULTS:
                (self.run / name).unlink(missing_ok=True)
            names = [each.step.name for each in self.steps]
            for name in reversed(names):
                self._remove_step(name)
            for label in self.asked.datasets:
                shutil.rmtree(self.run / "media" / label, ignore_errors=True)
            Bill(self.run / "cost.json").forget(names)

    def _remove_step(self, name: str) -> None:
        step = self.run / "steps" / name
        forget(step / "featurize")
        if not self.asked.datasets and name == self.steps[0].step.name:
            settings, first = self.recipe.featurize, self.first
            before = _steps(self.recipe)[first - 2] if first > 1 else None
            copied = self.run / "steps" / before.name / "featurize" if before else None
            set_aside_whole(step, copied, settings.batch_tokens, settings.drift)
        for folder in step.iterdir() if step.is_dir() else ():
            if folder != aside(step / "featurize"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        if step.is_dir() and not any(step.iterdir()):
            step.rmdir()


def plan_withdrawal(run: Path, dataset: str | None, rows: Sequence[str]) -> Withdrawal:
    """What it would mean to withdraw a dataset, by its task's name, or rows, by their uids.

    Raises:
        UserError: no run, no such dataset, none of the rows was ever in it.
    """
    recipe = recipe_of(run)
    told = Withdrawn.read(run)
    if dataset is not None:
        return _of_dataset(run, recipe, told, dataset)
    gone = frozenset(rows)
    steps = _touched(run, recipe, gone.__contains__)
    held = {uid for step in steps for uid in _uids(run, step.step, "ingest/pool.parquet")}
    known = held | set(told.rows)
    if not known & gone:
        hint = "uids stand in the column uid of steps/*/select/selection.parquet"
        raise UserError("none of these rows is in this run", where=str(run), hint=hint)
    absent = tuple(sorted(gone - known))
    return Withdrawal(run, recipe, Withdrawn((), tuple(sorted(gone & known))), steps, absent)


def _of_dataset(run: Path, recipe: Recipe, told: Withdrawn, name: str) -> Withdrawal:
    asked = Withdrawn((name,), ())
    labels = _labels(recipe)
    if name not in labels and name in told.datasets:
        return Withdrawal(run, recipe, asked, (), ())
    if name not in labels:
        hint = suggestion(name, labels)
        raise UserError("no such dataset in this run", where=str(run), seen=name, hint=hint)
    first = labels.index(name)
    touched = {each.step: each for each in _touched(run, recipe, lambda u: _label(u) == name)}
    steps = [touched.get(step, Touched(step, 0, 0)) for step in _steps(recipe)[first:]]
    return Withdrawal(run, recipe, asked, tuple(steps), ())


def _touched(run: Path, recipe: Recipe, gone: Callable[[str], bool]) -> tuple[Touched, ...]:
    """The steps from the first whose pool held such a row."""
    found: list[Touched] = []
    for step in _steps(recipe):
        pool = sum(map(gone, _uids(run, step, "ingest/pool.parquet")))
        trained = sum(map(gone, _uids(run, step, "select/selection.parquet")))
        if pool or found:
            found.append(Touched(step, pool, trained))
    return tuple(found)


def _uids(run: Path, step: Step, name: str) -> Collection[str]:
    file = run / "steps" / step.name / name
    uids: list[str] = (
        pq.read_table(file, columns=["uid"])["uid"].to_pylist() if file.is_file() else []
    )
    return uids


def _steps(recipe: Recipe) -> list[Step]:
    return [Step(BASE.index + i, label) for i, label in enumerate(_labels(recipe), 1)]


def _labels(recipe: Recipe) -> list[str]:
    return [task.label for task in recipe.tasks]


def _label(uid: str) -> str:
    return uid.partition(":")[0]
