"""The walk: every stage of every step in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.context import BASE, Context, Step
from stages.evaluate import evaluate_work
from stages.featurize import Previous, featurize_work
from stages.glance import glance_work
from stages.ingest import ingest_work
from stages.lineage import Lineage
from stages.overlap import overlap_works
from stages.probe import Asked, probe_size
from stages.prune import prune_work
from stages.rehearse import rehearse_work
from stages.select import FEATURELESS, select_work
from stages.train import train_work
from stages.work import Work, is_done


@dataclass(frozen=True, slots=True)
class StepWorks:
    """The stages of one step; the base model has only the evaluation."""

    step: Step
    evaluate: tuple[Work, ...]
    ingest: Work | None = None
    overlap: tuple[Work, ...] = ()
    glance: Work | None = None
    featurize: Work | None = None
    select: Work | None = None
    rehearse: Work | None = None
    train: Work | None = None
    prune: Work | None = None

    @property
    def ordered(self) -> list[Work]:
        """The stages that this step has, in the order of the walk."""
        choosing = (self.ingest, *self.overlap, self.glance, self.featurize, self.select)
        training = (self.rehearse, self.train)
        return [w for w in (*choosing, *training, *self.evaluate, self.prune) if w is not None]


def plan_walk(context: Context) -> list[StepWorks]:
    """All steps with their stages, chained by fingerprints; nothing is computed.

    The feature pass is left out where nothing asks for it: no method that looks at features and no
    pruning of the pool. The first look is left out where no number of rows caps that pass, and
    rehearsal where no rows of it are asked for, and at the first step.
    """
    recipe = context.recipe
    context.sources  # noqa: B018, a dataset that is not there is told before a missing benchmark
    capped = recipe.most_scored is not None
    scored = recipe.select.method not in FEATURELESS or recipe.pool_budget is not None
    across, compared = recipe.adapter.across_steps, recipe.data.overlap
    base = tuple(evaluate_work(context, BASE, b, Lineage()) for b in context.benchmarks)
    walk = [StepWorks(BASE, base)]
    for step in context.steps:
        before = walk[-1]
        ingest = ingest_work(context, step, [w.prune for w in walk if w.prune])
        trained = [w.train for w in walk if w.train]
        lineage = Lineage.after(trained, across)
        handed = Previous(before.featurize, lineage)
        glance = featurize = rehearse = None
        if scored and capped:
            glance = glance_work(context, step, ingest, before.glance)
        if scored:
            featurize = featurize_work(context, step, ingest, glance, handed)
        looks = featurize if recipe.select.method not in FEATURELESS else None
        select = select_work(context, step, ingest, looks, _first(walk))
        if recipe.rehearse.rows and trained:
            rehearse = rehearse_work(context, step, ingest, lineage)
        start = Lineage.before(trained, across)
        train = train_work(context, step, ingest, select, rehearse, start)
        evaluate = _evaluations(context, step, Lineage.after([*trained, train], across), base)
        prune = prune_work(context, step, ingest, featurize)
        earlier = [(w.step, w.ingest) for w in walk if w.ingest]
        walk.append(
            StepWorks(
                step=step,
                evaluate=evaluate,
                ingest=ingest,
                overlap=overlap_works(context, step, ingest, earlier) if compared else (),
                glance=glance,
                featurize=featurize,
                select=select,
                rehearse=rehearse,
                train=train,
                prune=prune,
            )
        )
    return walk


def _first(walk: Sequence[StepWorks]) -> Work | None:
    """The selection of the first step, None before there is one."""
    return walk[1].select if len(walk) > 1 else None


def _evaluations(
    context: Context, step: Step, lineage: Lineage, base: Sequence[Work]
) -> tuple[Work, ...]:
    """Every benchmark after a step: by a probe of it, unless all of it is asked or has been.

    All of it has been where the step was the last one until a task was appended.
    """
    works = []
    for benchmark, asked in zip(context.benchmarks, base, strict=True):
        work = evaluate_work(context, step, benchmark, lineage)
        size = probe_size(context, benchmark)
        if size is not None and step != context.steps[-1] and not is_done(work):
            work = evaluate_work(context, step, benchmark, lineage, Asked(asked, size))
        works.append(work)
    return tuple(works)
