"""Features and scores of the pool under the model as the previous step left it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptinf.data.pool import PoolTable, places, read_pool
from adaptinf.features.store import FeatureStore, load_scores
from adaptinf.files import write_atomically
from config import Featurize
from stages.batches import Positions, pool_batches
from stages.context import Context, Step
from stages.donors import Donor, Plan
from stages.glance import candidates_of
from stages.lineage import Lineage
from stages.passes import PoolPass, filled_by_ranks
from stages.work import Counts, Progress, Work, derived_seed

if TYPE_CHECKING:
    from adaptinf.features.extractor import FeatureExtractor

VERSION = 3

_REFRESH = "refresh.json"


@dataclass(frozen=True, slots=True)
class Previous:
    """What the step before hands on; at the first step no features and no trainings."""

    featurize: Work | None
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class Refresh:
    """Which candidates keep their old features (their place there, or -1), and why."""

    reused: Positions
    drift: dict[str, float]

    @classmethod
    def read(cls, file: Path) -> Refresh:
        """What was written down."""
        told = json.loads(file.read_text())
        return cls(np.array(told["reused"], dtype=np.int64), told["drift"])

    def write(self, file: Path) -> None:
        """Write it down, for other ranks and for a pass that is resumed."""
        told = {"drift": self.drift, "reused": self.reused.tolist()}
        write_atomically(file, json.dumps(told))


def featurize_work(
    context: Context, step: Step, ingest: Work, glance: Work | None, previous: Previous
) -> Work:
    """The feature pass over the step's candidates, old rows only as far as ``refresh`` asks for.

    Scores the pool with the previous step's adapter, or with a fresh one at the first step.
    """
    recipe = context.recipe
    inputs = {"ingest": ingest.fingerprint, "model": context.model_fingerprint}
    if glance:
        inputs["glance"] = glance.fingerprint
    inputs |= previous.lineage.inputs
    if previous.featurize:
        inputs["featurize"] = previous.featurize.fingerprint
    settings = {
        **recipe.featurize.lasting(),
        "adapter": recipe.adapter.lasting(),
        "max_length": recipe.data.max_length,
        "seed": recipe.seed,
    }
    folder = context.run / "steps" / step.name / "featurize"
    donor = partial(Donor.of, folder, VERSION, settings, inputs, previous.lineage.folders)
    return Work(
        step=step.name,
        stage="featurize",
        version=VERSION,
        settings=settings,
        inputs=inputs,
        folder=folder,
        shared=True,
        perform=partial(_featurize, context, step, ingest, glance, previous, donor),
        reads=(
            *(work.folder for work in (ingest, glance, previous.featurize) if work),
            *previous.lineage.folders,
        ),
    )


def _featurize(
    context: Context,
    step: Step,
    ingest: Work,
    glance: Work | None,
    previous: Previous,
    find_donor: Callable[[], Donor | None],
    folder: Path,
    progress: Progress,
) -> Counts:
    from adaptinf.features.extractor import BatchFeatures

    settings, seed, ranks = context.recipe.featurize, context.recipe.seed, context.ranks
    pool = read_pool(ingest.folder / "pool.parquet")
    candidates = candidates_of(glance, pool)
    with context.model.adapted(previous.lineage) as model, ExitStack() as stack:
        extractor = extractor_of(model, settings, derived_seed(seed, "projection"))
        stack.enter_context(extractor.model_unchanged())
        if ranks.leads and not (folder / _REFRESH).exists():
            found = _refresh(context, pool, candidates, previous.featurize, extractor)
            found.write(folder / _REFRESH)
        ranks.meet()
        refresh = Refresh.read(folder / _REFRESH)
        if refresh.drift:
            stale = sum(drift > settings.drift for drift in refresh.drift.values())
            progress.note(f"{stale} of {len(refresh.drift)} old datasets had drifted")
        fresh = np.flatnonzero(refresh.reused < 0)
        donor = find_donor()
        plan = _plan(pool, candidates[fresh], step, settings.batch_tokens, donor)
        batches = [fresh[batch] for batch in plan.batches]
        described = _described(context, extractor, refresh, len(fresh))
        if donor and plan.given:
            progress.note(f"{plan.taken_over} of {len(fresh)} rows are taken over as they were")
        if donor and donor.whole is None:
            described["scored_now"] -= plan.taken_over
            described["taken_over"] = plan.taken_over
        hidden = model.config.get_text_config().hidden_size

        def opened(place: Path) -> FeatureStore:
            return FeatureStore.open(
                place, len(candidates), extractor.dim, hidden, batches, described
            )

        if donor and ranks.leads:
            opened(folder).batches_from(donor.folder, plan.given)
        scored = PoolPass(
            context, pool, [candidates[batch] for batch in batches], extractor, BatchFeatures.join
        )
        store = filled_by_ranks(
            ranks, folder, opened, lambda part, pending: scored.fill(part, pending, progress)
        )
    if ranks.leads:
        if previous.featurize and len(fresh) < len(candidates):
            store.rows_from(previous.featurize.folder, refresh.reused)
        uids = pool.uids
        store.finish([uids[i] for i in candidates])
        # The manifest tells of the drift.
        (folder / _REFRESH).unlink()
    left = len(pool) - len(candidates)
    return Counts(len(pool), len(candidates), {"no-candidate": left} if left else {})


def _plan(
    pool: PoolTable, rows: Positions, step: Step, batch_tokens: int, donor: Donor | None
) -> Plan:
    """How the pool's ``rows`` share batches, and which of these a donor has."""
    if donor is None:
        return Plan(pool_batches(pool, rows, batch_tokens))
    return donor.plan(pool, rows, step.index, batch_tokens)


def extractor_of(model: Any, settings: Featurize, seed: int) -> FeatureExtractor:
    """The feature pass that a recipe asks for, with ``seed`` for its projection."""
    from adaptinf.features.extractor import FeatureExtractor

    return FeatureExtractor(
        model,
        settings.layer,
        settings.dim,
        seed,
        grounding=settings.grounding,
        gradients=settings.gradients,
        embed_tokens=settings.embeddings.tokens,
        embed_layer=settings.embeddings.layer,
        perplexity=settings.perplexity,
    )


def _refresh(
    context: Context,
    pool: PoolTable,
    candidates: Positions,
    before: Work | None,
    extractor: FeatureExtractor,
) -> Refresh:
    """Old rows keep their features unless ``refresh`` is ``all`` or their dataset has drifted.

    ``stale``: a seeded probe of each dataset's old rows is scored now. Its drift is the mean
    absolute change of log perplexity, as ``perplexity`` has it, since the features were computed.
    """
    settings = context.recipe.featurize
    if before is None or settings.refresh == "all":
        return Refresh(np.full(len(candidates), -1, dtype=np.int64), {})
    scored = load_scores(before.folder)
    uids, datasets = pool.uids, pool.strings("dataset")
    reused = places([uids[i] for i in candidates], scored["uid"].to_pylist())
    if settings.refresh == "new":
        return Refresh(reused, {})
    old = np.log(scored["perplexity"].to_numpy())
    names = np.array([datasets[i] for i in candidates])
    drift = {}
    for dataset in sorted({str(name) for name in names[reused >= 0]}):
        rows = np.flatnonzero((names == dataset) & (reused >= 0))
        seed = derived_seed(context.recipe.seed, "probe", dataset)
        size = min(settings.probe_rows, len(rows))
        probe = np.sort(np.random.default_rng(seed).choice(rows, size, replace=False))
        batch = context.collator([pool.sample(int(i)) for i in candidates[probe]])
        now = np.log(extractor(batch).scores["perplexity"].numpy())
        drift[dataset] = float(np.mean(np.abs(now - old[reused[probe]])))
        if drift[dataset] > settings.drift:
            reused[rows] = -1
    return Refresh(reused, drift)


def _described(
    context: Context, extractor: FeatureExtractor, refresh: Refresh, fresh: int
) -> dict[str, Any]:
    settings = context.recipe.featurize
    return {
        "model": context.model_fingerprint,
        "layer": extractor.layer,
        "gradients": extractor.kind,
        "grounding": settings.grounding,
        "embeddings": settings.embeddings.model_dump(),
        **({} if settings.perplexity == "exp-mean" else {"perplexity": settings.perplexity}),
        "refresh": settings.refresh,
        "drift": refresh.drift,
        "scored_now": fresh,
    }
