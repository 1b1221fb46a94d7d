"""How many rows reach which stage of a step, foretold without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from config import Recipe
from stages.look import TaskLook
from stages.select import FEATURELESS
from stages.walk import StepWorks
from stages.work import Work, is_done


@dataclass(frozen=True, slots=True)
class Rows:
    """So many rows of so many tokens and bytes in all."""

    number: int = 0
    tokens: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            self.number + other.number, self.tokens + other.tokens, self.bytes + other.bytes
        )

    def first(self, most: int | None) -> Rows:
        """At most that many of them, each as long as all on average."""
        if most is None or most >= self.number:
            return self
        share = most / self.number
        return Rows(most, self.tokens * share, self.bytes * share)


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows that meet in one step: those that come, and the pool that they join."""

    recipe: Recipe
    new: Rows
    pool: Rows

    @property
    def glanced(self) -> Rows:
        """Rows looked at for the first time: the new ones, or all once they are too many."""
        most = self.recipe.most_scored
        if most is None or self.pool.number <= most:
            return Rows()
        return self.pool if self.pool.number - self.new.number <= most else self.new

    @property
    def candidates(self) -> Rows:
        """Rows that have features."""
        return self.pool.first(self.recipe.most_scored)

    @property
    def scored(self) -> Rows:
        """Rows scored now. With refresh ``stale`` that is all, as if every dataset had drifted."""
        refreshed = self.new if self.recipe.featurize.refresh == "new" else self.pool
        return refreshed.first(self.candidates.number)

    @property
    def chosen(self) -> Rows:
        """Rows that are selected."""
        select = self.recipe.select
        if select.method == "multitask":
            return self.pool
        if select.method == "sequential":
            return self.new.first(select.budget)
        source = self.pool if select.method in FEATURELESS else self.candidates
        return source.first(select.budget)

    @property
    def rehearsed(self) -> Rows:
        """Rows that the model makes, taken to be as long as those that came before; at most."""
        old = self.pool.number - self.new.number
        tokens = (self.pool.tokens - self.new.tokens) / max(1, old)
        number = self.recipe.rehearse.rows if old else 0
        return Rows(number, number * tokens)

    @property
    def trained(self) -> Rows:
        """Rows that are trained on."""
        return self.chosen + self.rehearsed

    @property
    def kept(self) -> Rows:
        """The pool that the next step starts from."""
        return self.pool.first(self.recipe.pool_budget)


def foretold(
    recipe: Recipe, looks: Sequence[TaskLook], steps: Sequence[StepWorks]
) -> Iterator[StepRows]:
    """The rows of each step; where a step has been ingested or pruned, as counted then."""
    pool = Rows()
    for look, works in zip(looks, steps, strict=True):
        counted = _kept(works.ingest)
        number = look.usable if counted is None else counted
        new = Rows(number, number * look.tokens, number * look.row_bytes)
        step = StepRows(recipe, new, pool + new)
        yield step
        pool = step.kept.first(_kept(works.prune))


def _kept(work: Work | None) -> int | None:
    record = work.done() if work is not None and is_done(work) else None
    return None if record is None else int(record["counts"]["kept"])
