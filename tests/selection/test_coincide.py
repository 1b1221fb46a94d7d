from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selection import Pool, select
from selection.coincide import (
    matching_rows,
    mean_kernel,
    sequential_shares,
    transferability,
)
from selection.kmeans import cluster_rows


def pool_of(n: int, seed: int = 0, d: int = 3) -> Pool:
    """Tied, zero and non-finite rows among others."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, d)).astype(np.float16)
    features[rng.random(n) < 0.1] = np.nan
    return Pool([f"r{i}" for i in range(n)], features)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = rows.astype(float)
    return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


def kernel(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    differences = rows[:, None] - rows[None]
    return np.exp(-(differences**2).sum(axis=2) / 2)


def matching_by_hand(k: NDArray[np.float64], budget: int) -> list[int]:
    """The whole discrepancy anew for every candidate."""
    chosen: list[int] = []
    for _ in range(budget):
        costs = {}
        for x in range(len(k)):
            if x not in chosen:
                s = [*chosen, x]
                costs[x] = k.mean() + k[np.ix_(s, s)].mean() - 2 * k[:, s].mean()
        chosen.append(min(costs, key=lambda x: (round(costs[x], 9), x)))
    return chosen


def shares_by_hand(logits: list[float], sizes: list[int], total: int) -> list[int]:
    """The softmax anew over the clusters that remain."""
    shares, left = [0] * len(sizes), list(range(len(sizes)))
    rest = min(total, sum(sizes))
    while left:
        powers = np.exp([logits[c] - max(logits) for c in left])
        place = int(powers.argmax())
        cluster = left.pop(place)
        wanted = math.floor(round(rest * powers[place] / powers.sum(), 9) + 0.5)
        shares[cluster] = min(sizes[cluster], wanted)
        rest -= shares[cluster]
    while rest > 0:
        roomy = [c for c in range(len(sizes)) if shares[c] < sizes[c]]
        shares[max(roomy, key=lambda c: (logits[c], -c))] += 1
        rest -= 1
    return shares


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 30)), max_size=8), st.integers(0, 250)
)
def test_shares_equal_the_plain_rounds(sets: list[tuple[int, int]], total: int) -> None:
    logits, sizes = [x / 4 + 1e-6 * x * x for x, _ in sets], [size for _, size in sets]
    shares = sequential_shares(logits, sizes, total).tolist()
    assert shares == shares_by_hand(logits, sizes, total)
    assert sum(shares) == min(total, sum(sizes))


def test_shares_by_hand() -> None:
    even = sequential_shares([0.0, 0.0, 0.0], [9, 9, 9], 9)
    assert even.tolist() == [3, 3, 3]
    assert sequential_shares(np.log([1.0, 3.0]), [9, 9], 8).tolist() == [2, 6]
    assert sequential_shares(np.log([1.0, 3.0]), [9, 4], 8).tolist() == [4, 4]
    assert sequential_shares([500.0, -500.0, 0.0], [9, 9, 9], 12).tolist() == [9, 0, 3]


def test_transferability_leaves_out_what_is_the_same_skill() -> None:
    angles = np.radians([0.0, 10.0, 60.0])
    centroids = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    expected = [0.5, np.cos(np.radians(50)), (0.5 + np.cos(np.radians(50))) / 2]
    np.testing.assert_allclose(transferability(centroids), expected, rtol=0, atol=1e-9)
    assert transferability(centroids[:2]).tolist() == [0.0, 0.0]
    assert transferability(centroids[:1]).tolist() == [0.0]


@pytest.mark.parametrize("block_rows", [1, 7, 1024])
def test_the_mean_kernel_is_that_of_all_pairs(block_rows: int) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 5))
    found = mean_kernel(rows, np.arange(3, 40), block_rows)
    np.testing.assert_allclose(found, kernel(unit(rows[3:])).mean(axis=1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 30, 60])
def test_running_sums_equal_the_whole_discrepancy(n: int) -> None:
    rows = np.random.default_rng(n).standard_normal((n, 4))
    everything = np.arange(n)
    taken = matching_rows(rows, everything, mean_kernel(rows, everything), n)
    assert taken.tolist() == matching_by_hand(kernel(unit(rows)), n)


def test_chosen_rows_follow_the_spread_of_the_cluster() -> None:
    """Of 30 and 10 equal rows four are taken 3 to 1."""
    rows = np.repeat([[1.0, 0.0], [0.0, 1.0]], [30, 10], axis=0)
    taken = matching_rows(rows, np.arange(40), mean_kernel(rows, np.arange(40)), 4)
    assert taken[0] == 0
    assert sorted(taken >= 30) == [False, False, False, True]


def test_the_method_equals_the_plain_formula() -> None:
    rng = np.random.default_rng(3)
    centres, which = rng.standard_normal((6, 5)), rng.integers(0, 6, 200)
    features = (centres[which] + 0.4 * rng.standard_normal((200, 5))).astype(np.float32)
    pool = Pool([f"r{i}" for i in range(200)], features)
    result = select(pool, 70, method="coincide", clusters=8, seed=1)
    members = cluster_rows(features, 70, 8, 1).members
    kernels = [kernel(unit(features[rows])) for rows in members]
    centroids = unit(np.array([unit(features[rows]).mean(axis=0) for rows in members]))
    logits = []
    for c, k in enumerate(kernels):
        others = [float(centroids[c] @ x) for i, x in enumerate(centroids) if i != c]
        logits.append(np.mean([x for x in others if x <= 0.9]) / (0.1 * k.mean()))
    shares = shares_by_hand(logits, [len(rows) for rows in members], 70)
    assert [c["budget"] for c in result.summary["clusters"]] == shares
    assert any(0 < share < len(rows) for share, rows in zip(shares, members, strict=True))
    expected: list[int] = []
    for rows, k, share in zip(members, kernels, shares, strict=True):
        expected += rows[matching_by_hand(k, share)].tolist()
    assert result.indices.tolist() == sorted(expected)
