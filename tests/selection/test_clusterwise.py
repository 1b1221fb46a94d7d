"""What holds for every method that spends its budget cluster by cluster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from selection import Pool, Request, select
from selection.registry import lookup

methods = pytest.mark.parametrize("method", ["semdedup", "dbp", "coincide"])


def pool_of(n: int, seed: int = 0, d: int = 3) -> Pool:
    """Tied, zero and non-finite rows among others."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, d)).astype(np.float16)
    features[rng.random(n) < 0.1] = np.nan
    return Pool([f"r{i}" for i in range(n)], features)


@methods
def test_features_are_needed(method: str) -> None:
    with pytest.raises(ValueError, match=f"{method} needs features"):
        select(Pool(["a"]), 1, method=method)


@methods
@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(0, 30),
    budget=st.integers(0, 40),
    clusters=st.one_of(st.just("auto"), st.integers(1, 9)),
    seed=st.integers(0, 10**6),
)
def test_every_budget_is_met_exactly(
    method: str, n: int, budget: int, clusters: int | str, seed: int
) -> None:
    result = select(pool_of(n, seed), budget, method=method, seed=seed, clusters=clusters)
    assert len(set(result.indices.tolist())) == len(result.indices) == min(budget, n)
    assert all(c["budget"] <= c["size"] for c in result.summary["clusters"])
    assert sum(c["budget"] for c in result.summary["clusters"]) == min(budget, n)


@pytest.mark.parametrize("method", ["dbp", "coincide"])
def test_the_same_seed_gives_the_same_rows_on_one_or_two_threads(method: str) -> None:
    tables = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            tables.append(select(pool_of(900, d=8), 200, method=method, seed=3).table)
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(select(pool_of(900, d=8), 200, method=method, seed=4).table)


@methods
@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 20), budget=st.integers(0, 25), seed=st.integers(0, 10**6))
def test_given_centroids_may_leave_clusters_empty(
    method: str, n: int, budget: int, seed: int
) -> None:
    centroids = np.random.default_rng(seed).standard_normal((6, 3))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    choice = lookup(method)(pool_of(n, seed), Request(budget, seed, centroids=centroids))
    assert len(set(choice.indices.tolist())) == len(choice.indices) == min(budget, n)
    assert choice.centroids is not None
    assert choice.centroids.shape == (6, 3)
