from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selection import Pool, select
from selection.budget import water_fill
from selection.kmeans import cluster_rows
from selection.redundancy import redundancy
from selection.semdedup import duplicates


def pool_of(n: int, seed: int = 0, d: int = 3) -> Pool:
    """Tied, zero and non-finite rows among others."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, d)).astype(np.float16)
    features[rng.random(n) < 0.1] = np.nan
    return Pool([f"r{i}" for i in range(n)], features)


def duplicates_by_hand(rows: NDArray[np.float64], threshold: float, rule: str) -> list[int]:
    """Row by row, pair by pair."""
    removed: list[int] = []
    usable = [i for i, row in enumerate(rows) if np.isfinite(row).all() and row.any()]
    for place, j in enumerate(usable):
        for i in usable[:place]:
            cosine = rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
            if round(cosine, 9) > threshold and (rule == "semdedup" or i not in removed):
                removed.append(j)
                break
    return removed


@pytest.mark.parametrize("rule", ["semdedup", "greedy"])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.8, 0.95, 1.0])
def test_blocks_equal_the_plain_rule(rule: str, threshold: float) -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((90, 3))
    rows[60:] = rows[rng.integers(0, 60, 30)] + 0.05 * rng.standard_normal((30, 3))
    rows[[3, 40]], rows[[17]], rows[50] = 0, np.nan, rows[49]
    expected = duplicates_by_hand(rows, threshold, rule)
    for block_rows in (1, 7, 64, 1024):
        assert duplicates(rows, threshold, rule, block_rows).tolist() == expected


def test_a_chain_of_three_tells_the_rules_apart() -> None:
    angles = np.radians([0.0, 10.0, 20.0])
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert duplicates(chain, 0.98).tolist() == [1, 2]
    assert duplicates(chain, 0.98, "greedy").tolist() == [1]


def test_half_precision_does_not_decide() -> None:
    """In float16 the cosine of these rows rounds to 1."""
    rows = np.array([[1.0, 0.0], [1.0, 0.01]], np.float16)
    assert duplicates(rows, 0.99999).tolist() == []
    assert duplicates(rows, 0.9999).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 10**6), st.floats(-1, 1))
def test_greedy_keeps_no_close_pair_and_removes_nothing_else(
    n: int, seed: int, threshold: float
) -> None:
    features = pool_of(n, seed).features
    assert features is not None
    strict, greedy = (set(duplicates(features, threshold, r)) for r in ("semdedup", "greedy"))
    assert greedy <= strict
    kept = np.setdiff1d(np.arange(n), list(greedy))
    assert not len(duplicates(features[kept], threshold))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.5,), "threshold must be a cosine"), ((np.nan,), "threshold"), ((0.9, "max"), "rule must")],
)
def test_settings_that_make_no_sense(arguments: tuple[float, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        duplicates(np.ones((2, 2)), *arguments)


def test_each_cluster_keeps_its_least_redundant_rows() -> None:
    pool = pool_of(300, d=4)
    result = select(pool, 120, method="semdedup", clusters=5, seed=2)
    assert pool.features is not None
    clustering = cluster_rows(pool.features, 120, 5, 2)
    shares = water_fill([len(rows) for rows in clustering.members], 120)
    for cluster, rows in enumerate(clustering.members):
        chosen = np.intersect1d(rows, result.indices)
        assert len(chosen) == shares[cluster]
        if cluster != clustering.unusable:
            expected = rows[redundancy(pool.features, rows).keep(int(shares[cluster]))]
            np.testing.assert_array_equal(chosen, expected)
    assert result.summary["excluded"] == dict(clustering.excluded)


def test_planted_copies_go_first() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float16)
    features = np.concatenate([rows, rows[:50]])
    pool = Pool([f"r{i}" for i in range(250)], features)
    assert select(pool, 200, method="semdedup", clusters=1).indices.tolist() == list(range(200))


def test_unusable_rows_are_drawn_by_the_seed_and_threads_change_nothing() -> None:
    tables = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            tables.append(select(pool_of(900), 300, method="semdedup", seed=3).table)
    assert tables[0].equals(tables[1])
    zeros = Pool([f"r{i}" for i in range(50)], np.zeros((50, 2), np.float16))
    one, two = (select(zeros, 9, method="semdedup", seed=s).indices.tolist() for s in (0, 1))
    assert one != two
