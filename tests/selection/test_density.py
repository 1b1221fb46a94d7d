from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selection import Pool, select
from selection.density import bounded_shares, isolation, softmax
from selection.kmeans import cluster_rows


def pool_of(n: int, seed: int = 0, d: int = 3) -> Pool:
    """Tied, zero and non-finite rows among others."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, d)).astype(np.float16)
    features[rng.random(n) < 0.1] = np.nan
    return Pool([f"r{i}" for i in range(n)], features)


def blobs(n: int = 300, k: int = 30, d: int = 6) -> Pool:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((k, d))
    width = rng.uniform(0.02, 0.6, (k, 1))
    which = rng.integers(0, k, n)
    rows = centres[which] + width[which] * rng.standard_normal((n, d))
    return Pool([f"r{i}" for i in range(n)], rows.astype(np.float32))


def unit(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return row / np.linalg.norm(row)


def cost(shares: list[int], targets: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(shares, targets, strict=True))


def best_by_trial(targets: list[float], sizes: list[int], total: int) -> float:
    """Smallest cost of any integer shares."""
    best = {0: 0.0}
    for target, size in zip(targets, sizes, strict=True):
        grown: dict[int, float] = {}
        for spent, paid in best.items():
            for share in range(min(size, total - spent) + 1):
                here = paid + (share - target) ** 2
                grown[spent + share] = min(here, grown.get(spent + share, math.inf))
        best = grown
    return best[total]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 12), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(0, 50),
)
def test_bounded_shares_are_the_best_integers(sets: list[tuple[float, int]], total: int) -> None:
    targets, sizes = [t for t, _ in sets], [s for _, s in sets]
    shares = bounded_shares(targets, sizes, total).tolist()
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    best = best_by_trial(targets, sizes, min(total, sum(sizes)))
    assert cost(shares, targets) == pytest.approx(best, abs=1e-6)


def test_bounded_shares_by_hand() -> None:
    assert bounded_shares([6.0, 3.0, 1.0], [4, 9, 9], 10).tolist() == [4, 4, 2]
    assert bounded_shares([5.0, 5.0, 5.0], [9, 9, 9], 16).tolist() == [6, 5, 5]
    assert bounded_shares([10.0, 0.1, 0.1], [20, 1, 1], 8).tolist() == [8, 0, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(0, 10**6), st.floats(0, 1))
def test_bounded_shares_of_many_large_sets(k: int, seed: int, part: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 10**6, k)
    total = int(part * sizes.sum())
    shares = bounded_shares(total * softmax(rng.standard_normal(k)), sizes, total)
    assert shares.sum() == total
    assert (shares >= 0).all()
    assert (shares <= sizes).all()


def test_isolation_by_hand() -> None:
    assert isolation(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).tolist() == [1.5, 1.0, 1.5]
    assert isolation(np.array([[1.0, 0.0]])).tolist() == [0.0]


def test_the_method_equals_the_plain_formula() -> None:
    pool = blobs()
    result = select(pool, 120, method="dbp", clusters=25, seed=1)
    assert pool.features is not None
    members = cluster_rows(pool.features, 120, 25, 1).members
    rows = [np.array([unit(row.astype(float)) for row in pool.features[m]]) for m in members]
    centroids = [unit(part.mean(axis=0)) for part in rows]
    products = []
    for c, part in enumerate(rows):
        intra = sum(1 - row @ centroids[c] for row in part) / len(part)
        others = sorted(1 - centroids[c] @ x for i, x in enumerate(centroids) if i != c)
        products.append(intra * sum(others[:20]) / 20)
    powers = np.exp(np.array(products) / 0.1)
    sizes = [len(part) for part in rows]
    shares = bounded_shares(120 * powers / powers.sum(), sizes, 120)
    assert [c["budget"] for c in result.summary["clusters"]] == shares.tolist()
    assert 0 < sum(share < size for share, size in zip(shares, sizes, strict=True)) < 25
    expected: list[int] = []
    for c, part in enumerate(rows):
        far = sorted(range(len(part)), key=lambda i: part[i] @ centroids[c])[: shares[c]]
        expected += members[c][far].tolist()
    assert result.indices.tolist() == sorted(expected)


def test_rows_that_cancel_out_have_no_centroid_and_break_nothing() -> None:
    rows = np.array([[1.0, 0.0], [-1.0, 0.0]] * 4, np.float32)
    result = select(Pool(list("abcdefgh"), rows), 3, method="dbp", clusters=1)
    assert result.indices.tolist() == [0, 1, 2]
