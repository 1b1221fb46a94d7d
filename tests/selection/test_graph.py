from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from selection import Pool, select
from selection.graph import difficulty, spread_scores, take_rows
from selection.neighbours import nearest_neighbours
from tests.selection.oracles import edges_by_hand


def pool_of(n: int, seed: int = 0, d: int = 3) -> Pool:
    """Tied, zero and non-finite rows and scores among others."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, d)).astype(np.float16)
    features[rng.random(n) < 0.1] = np.nan
    scores = rng.integers(-3, 9, n).astype(float)
    scores[rng.random(n) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    return Pool([f"r{i}" for i in range(n)], features, scores={"el2n": scores})


def d2_by_hand(
    edges: dict[tuple[int, int], float], scores: list[float], budget: int, gamma: float
) -> list[int]:
    """The published loops: forward once, then the largest of all, again and again."""
    weight = {pair: math.exp(-gamma * squared) for pair, squared in edges.items()}
    current = [
        score + sum(weight[i, j] * scores[j] for j in range(len(scores)) if (i, j) in edges)
        for i, score in enumerate(scores)
    ]
    taken: list[int] = []
    while len(taken) < min(budget, len(scores)):
        best = max((i for i in range(len(scores)) if i not in taken), key=current.__getitem__)
        taken.append(best)
        for j in range(len(scores)):
            if (best, j) in edges and j not in taken:
                current[j] -= weight[best, j] * current[best]
    return taken


@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("n", [1, 2, 40, 300])
def test_messages_equal_the_plain_loops(n: int, gamma: float) -> None:
    rng = np.random.default_rng(n)
    rows, scores = rng.standard_normal((n, 5)), rng.standard_normal(n)
    graph = nearest_neighbours(rows, 5)
    taken = take_rows(graph, spread_scores(graph, scores, gamma), n // 2 + 1, gamma)
    expected = d2_by_hand(edges_by_hand(rows, 5), scores.tolist(), n // 2 + 1, gamma)
    assert taken.tolist() == expected


def test_the_method_equals_the_plain_loops() -> None:
    pool = pool_of(150, d=12)
    assert pool.features is not None
    column = pool.scores["el2n"]
    filled = np.where(np.isfinite(column), column, column[np.isfinite(column)].min())
    edges = edges_by_hand(pool.features, 10)
    result = select(pool, 60, method="d2")
    assert result.indices.tolist() == sorted(d2_by_hand(edges, filled.tolist(), 60, 1.0))
    assert set(result.table["scorer"].to_pylist()) == {"el2n"}
    excluded = result.summary["excluded"]
    assert excluded["non-finite-feature"] == np.isnan(pool.features).any(axis=1).sum()
    assert excluded["non-finite-score:el2n"] == (~np.isfinite(column)).sum()


def test_messages_that_reach_nobody_leave_the_highest_scores() -> None:
    rng = np.random.default_rng(0)
    rows, scores = rng.standard_normal((50, 3)), rng.standard_normal(50)
    graph = nearest_neighbours(rows)
    taken = take_rows(graph, spread_scores(graph, scores, 1e9), 20, 1e9)
    np.testing.assert_array_equal(taken, np.argsort(-scores)[:20])


def test_two_far_cliques_take_turns() -> None:
    graph = nearest_neighbours(np.repeat([[1.0, 0.0], [0.0, 1.0]], 5, axis=0), 4)
    taken = take_rows(graph, np.array([10, 4.5, 4, 3, 2, 9, 4.4, 4, 3, 2]), 2)
    assert taken.tolist() == [0, 5]


def test_the_unit_of_the_score_decides_nothing() -> None:
    pool = pool_of(80, d=6)
    chosen = select(pool, 30, method="d2").indices
    for factor in (2.0**-400, 8.0, 2.0**1000):
        scaled = Pool(pool.ids, pool.features, scores={"el2n": pool.scores["el2n"] * factor})
        np.testing.assert_array_equal(select(scaled, 30, method="d2").indices, chosen)
    assert difficulty(np.array([np.nan, 1e308, -5e307])).tolist() == [-0.5, 1.0, -0.5]
    assert difficulty(np.array([np.nan, np.inf])).tolist() == [0.0, 0.0]
    assert difficulty(np.empty(0)).tolist() == []


def test_the_first_score_in_order_is_used_and_one_is_needed() -> None:
    rows, column = np.eye(3), np.arange(3.0)
    pool = Pool(list("abc"), rows, scores={"mine": column, "grand": column, "el2n": -column})
    assert set(select(pool, 2, method="d2").table["scorer"].to_pylist()) == {"el2n"}
    with pytest.raises(ValueError, match="d2 needs a score"):
        select(Pool(list("abc"), rows), 2, method="d2")
    with pytest.raises(ValueError, match="d2 needs features"):
        select(Pool(list("abc"), scores={"el2n": column}), 2, method="d2")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 10**6))
def test_every_budget_is_met_exactly(n: int, budget: int, seed: int) -> None:
    rows = select(pool_of(n, seed), budget, method="d2", seed=seed).indices.tolist()
    assert len(set(rows)) == len(rows) == min(budget, n)


def test_threads_change_nothing() -> None:
    tables = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            tables.append(select(pool_of(1200, d=8), 300, method="d2").table)
    assert tables[0].equals(tables[1])
