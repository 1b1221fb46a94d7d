"""The built-in selection methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selection.allotment import cluster_budgets
from selection.choice import Choice, ClusterReport, Method, Request
from selection.clusterwise import cluster_features, features_of
from selection.coincide import coincide
from selection.density import density_based_pruning
from selection.graph import d2_pruning
from selection.pool import Pool, Positions, Scores
from selection.sampling import SAMPLING
from selection.scorer import choose_scorer
from selection.seeds import generator
from selection.semdedup import semdedup
from selection.single import SINGLE_SCORES


def random_rows(pool: Pool, request: Request) -> Choice:
    """Uniform draw without replacement from the whole pool; larger budgets contain smaller ones."""
    order = generator(request.seed, "random").permutation(len(pool))
    return Choice(order[: request.budget])


def sequential_rows(pool: Pool, request: Request) -> Choice:
    """Uniform draw without replacement from the rows of the newest arrival, and nothing older."""
    if pool.arrival is None:
        raise ValueError("sequential needs the arrival step of every row (Pool.arrival)")
    newest = np.flatnonzero(pool.arrival == pool.arrival.max(initial=np.iinfo(np.int64).min))
    order = generator(request.seed, "sequential").permutation(newest)
    older = len(pool) - len(newest)
    return Choice(order[: request.budget], excluded={"older-arrival": older} if older else {})


def all_rows(pool: Pool, request: Request) -> Choice:
    """Every row of the pool, whatever the budget: the usual upper reference."""
    return Choice(np.arange(len(pool)), notes=("budget ignored: multitask takes every row",))


def adapt_inf(pool: Pool, request: Request) -> Choice:
    """Adapt-inf (arXiv 2410.10636): k-means, best scorer, coverage sampling in every cluster.

    Rows are clustered by feature, clusters share the budget by water filling, each cluster takes
    the scorer of largest histogram entropy, and rows are drawn from all strata of that score; the
    request may name other rules for each of these parts.
    Without scores, and among rows without a usable feature, rows are drawn uniformly. Exactly
    min(budget, n) rows. ``excluded`` counts rows that could not be clustered by their feature, and
    per score those left out of its histograms; all of them can still be drawn.
    """
    clustering = cluster_features(features_of(pool, "adapt-inf"), request)
    shares = cluster_budgets(pool, clustering.members, request)
    samples = []
    for cluster, rows in enumerate(clustering.members):
        scores = {} if cluster == clustering.unusable else pool.scores
        rng = generator(request.seed, "cluster", cluster)
        part = replace(request, budget=int(shares[cluster]))
        samples.append(_sample_cluster(cluster, rows, scores, part, rng))
    choice = _joined(samples, {**clustering.excluded, **_unscored(pool)})
    return replace(choice, centroids=clustering.centroids, curve=clustering.curve)


def adapt_inf_lite(pool: Pool, request: Request) -> Choice:
    """LITE-Adapt-inf selects exactly as Adapt-inf does.

    The difference lies in the pool handed in: between steps :func:`selection.prune` has cut it
    down for good, so that fewer rows need features.
    """
    return adapt_inf(pool, request)


BUILT_IN: Mapping[str, Method] = {
    "adapt-inf": adapt_inf,
    "adapt-inf-lite": adapt_inf_lite,
    "random": random_rows,
    "sequential": sequential_rows,
    "multitask": all_rows,
    **SINGLE_SCORES,
    "semdedup": semdedup,
    "dbp": density_based_pruning,
    "d2": d2_pruning,
    "coincide": coincide,
}


@dataclass(frozen=True, slots=True, eq=False)
class _ClusterSample:
    report: ClusterReport
    rows: Positions
    scores: Scores
    strata: NDArray[np.int32]


def _sample_cluster(
    cluster: int,
    rows: Positions,
    scores: Mapping[str, Scores],
    request: Request,
    rng: np.random.Generator,
) -> _ClusterSample:
    here = {name: column[rows] for name, column in scores.items()}
    chosen = choose_scorer(here, request.scorer)
    column = np.full(len(rows), np.nan) if chosen.column is None else chosen.column
    rule = "random" if chosen.column is None else request.sampling
    sample = SAMPLING[rule](column, request.budget, rng)
    return _ClusterSample(
        report=ClusterReport(cluster, len(rows), request.budget, chosen.name, chosen.entropies),
        rows=rows[sample.places],
        scores=column[sample.places],
        strata=sample.strata,
    )


def _joined(samples: list[_ClusterSample], excluded: dict[str, int]) -> Choice:
    if not samples:
        return Choice(np.empty(0, dtype=np.int64), excluded=excluded)
    sizes = [len(sample.rows) for sample in samples]
    return Choice(
        indices=np.concatenate([sample.rows for sample in samples]),
        cluster=np.repeat(np.arange(len(samples), dtype=np.int32), sizes),
        scorer=[sample.report.scorer for sample in samples for _ in sample.rows],
        score=np.concatenate([sample.scores for sample in samples]),
        stratum=np.concatenate([sample.strata for sample in samples]),
        clusters=[sample.report for sample in samples],
        excluded=excluded,
    )


def _unscored(pool: Pool) -> dict[str, int]:
    counts = {name: int((~np.isfinite(column)).sum()) for name, column in pool.scores.items()}
    return {f"non-finite-score:{name}": counts[name] for name in sorted(counts) if counts[name]}
