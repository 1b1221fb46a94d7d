from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selection.budget import cluster_count, water_fill, whole_number

SIZES = st.lists(st.integers(0, 60), max_size=25)


def filled_row_by_row(sizes: list[int], total: int) -> list[int]:
    """Deal one row at a time to all sets with room; a last round too small goes to the largest."""
    shares = [0] * len(sizes)
    rest = min(total, sum(sizes))
    while rest:
        roomy = [i for i in range(len(sizes)) if shares[i] < sizes[i]]
        roomy.sort(key=lambda i: (sizes[i], i))
        for i in roomy[-rest:]:
            shares[i] += 1
        rest -= min(rest, len(roomy))
    return shares


@given(SIZES, st.integers(0, 1600))
def test_water_filling_equals_dealing_row_by_row(sizes: list[int], total: int) -> None:
    shares = water_fill(sizes, total)
    assert shares.tolist() == filled_row_by_row(sizes, total)
    assert shares.sum() == min(total, sum(sizes))


@given(SIZES, st.integers(0, 1600))
def test_no_set_gets_more_than_a_larger_one(sizes: list[int], total: int) -> None:
    shares = water_fill(sizes, total)
    assert (np.diff(shares[np.argsort(sizes, kind="stable")]) >= 0).all()


def test_water_filling_by_hand() -> None:
    assert water_fill([1, 100, 3], 20).tolist() == [1, 16, 3]
    assert water_fill([10, 10, 10], 11).tolist() == [3, 4, 4]
    assert water_fill([], 5).tolist() == []


@pytest.mark.parametrize("total", [25_000, 1_000, 40_000, 10**9])
def test_sums_that_the_released_code_misses(total: int) -> None:
    """It returned 25,102 for 25,000 and divided by zero once the budget passed the pool."""
    sizes = np.random.default_rng(0).integers(1, 2500, 30)
    assert water_fill(sizes, total).sum() == min(total, sizes.sum())


@pytest.mark.parametrize(
    ("clusters", "budget", "rows", "count"),
    [
        ("auto", 25_000, 10**6, 158),
        ("auto", 400, 3000, 20),
        ("auto", 0, 3000, 1),
        ("auto", 400, 7, 7),
        ("auto", 400, 0, 1),
        (10, 400, 3000, 10),
        (10, 400, 7, 7),
        ("elbow", 400, 3000, 20),
        ("silhouette", 400, 7, 7),
    ],
)
def test_cluster_count(clusters: int | str, budget: int, rows: int, count: int) -> None:
    assert cluster_count(clusters, budget, rows) == count


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (0, "clusters must be above 0, or one of auto, elbow, silhouette"),
        (-3, "clusters must not be negative"),
        (2.5, "clusters must be a whole number"),
        (None, "clusters must be a whole number"),
        ("many", "unknown clusters 'many'; known: auto, elbow, silhouette"),
        ("elbows", "unknown clusters 'elbows'; did you mean 'elbow'"),
    ],
)
def test_cluster_counts_that_make_no_sense(clusters: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_count(clusters, 10, 10)  # type: ignore[arg-type]


def test_whole_numbers() -> None:
    assert whole_number("budget", np.int64(3)) == 3
    with pytest.raises(ValueError, match=r"budget must be a whole number \(seen: 3.0\)"):
        whole_number("budget", 3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"budget must not be negative \(seen: -1\)"):
        whole_number("budget", -1)
