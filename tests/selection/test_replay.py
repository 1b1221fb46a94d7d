from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selection import Pool, select
from selection.replay import project


def pool(n: int = 200) -> Pool:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, 5)).astype(np.float16)
    features[::30] = 0
    return Pool(
        [str(i) for i in range(n)],
        features,
        scores={"el2n": rng.random(n)},
        groups=["a" if i < n // 2 else "b" if i < 0.9 * n else "c" for i in range(n)],
        arrival=np.repeat([1, 2], [n // 4 * 3, n - n // 4 * 3]),
    )


@settings(max_examples=200)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4
    )
)
def test_projection_is_the_nearest_of_all_counts(rows: list[tuple[int, int, int]]) -> None:
    counts, one, two = (np.array(column) for column in zip(*rows, strict=True))
    low, high = np.minimum(one, two), np.maximum(one, two)
    assume(low.sum() <= counts.sum() <= high.sum())
    found = project(counts, low, high)
    ranges = [range(least, most + 1) for least, most in zip(low, high, strict=True)]
    allowed = [np.array(x) for x in product(*ranges) if sum(x) == counts.sum()]
    assert found.sum() == counts.sum()
    assert ((low <= found) & (found <= high)).all()
    assert ((found - counts) ** 2).sum() == min(((x - counts) ** 2).sum() for x in allowed)


def test_projection_by_hand() -> None:
    found = project(np.array([10, 5, 5]), np.array([0, 0, 8]), np.array([20, 20, 20]))
    assert found.tolist() == [9, 3, 8]


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(["adapt-inf", "random"]),
    budget=st.integers(1, 60),
    floor=st.integers(0, 50),
    ceiling=st.integers(0, 50),
)
def test_shares_hold_exactly(method: str, budget: int, floor: int, ceiling: int) -> None:
    options: dict[str, Any] = {
        "floors": {"b": floor / 100},
        "ceilings": {"c": ceiling / 100, "a": 0.5},
    }
    if ((budget * floor + 99) // 100) + budget // 2 > budget:
        return
    result = select(pool(), budget, method=method, **options)
    share = Counter(result.summary["share"])
    assert len(result.indices) == budget == len(set(result.indices.tolist()))
    assert share["b"] * 100 >= floor * budget
    assert share["c"] * 100 <= ceiling * budget
    assert share["a"] * 2 <= budget
    clusters = result.summary["clusters"]
    taken = Counter(result.table["cluster"].to_pylist())
    assert all(taken[c["cluster"]] == c["budget"] <= c["size"] for c in clusters)


@pytest.mark.parametrize("method", ["adapt-inf", "random", "dbp"])
def test_old_rows_get_their_share(method: str) -> None:
    for low, high in ((0.0, 0.1), (0.9, 1.0), (0.35, 0.35)):
        result = select(pool(), 20, method=method, old=(low, high))
        old = int((result.indices < 150).sum())
        assert low * 20 <= old <= high * 20
        assert len(result.indices) == 20


def test_shares_are_decimal() -> None:
    """0.07 of 100 rows is 7; as a binary number it is a little more."""
    result = select(pool(), 100, method="random", floors={"c": 0.07}, ceilings={"c": 0.07})
    assert result.summary["share"]["c"] == 7


def test_limits_that_do_not_bind_change_nothing() -> None:
    plain = select(pool(), 40)
    bound = select(pool(), 40, floors={"a": 0.01}, ceilings={"a": 1.0})
    assert bound.table.equals(plain.table)
    assert bound.summary == plain.summary


def test_the_clusters_are_those_of_the_whole_pool() -> None:
    plain, bound = select(pool(), 40), select(pool(), 40, old=(0.0, 0.1))
    assert plain.centroids is not None
    assert bound.centroids is not None
    assert bound.centroids.tobytes() == plain.centroids.tobytes()
    assert sum(c["size"] for c in bound.summary["clusters"]) == 200
    assert bound.summary["excluded"] == plain.summary["excluded"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floors": {"c": 0.6}}, "group 'c' must give at least 24 of 40 rows .* most 20 of its 20"),
        ({"floors": {"a": 0.6, "b": 0.5}}, "the floors ask for 44 of 40 rows: a 24, b 20, c 0"),
        (
            {"ceilings": {"a": 0.1, "b": 0.1}},
            "the ceilings leave only 28 of 40 rows: a 4, b 4, c 20",
        ),
        ({"floors": {"a": 0.6}, "ceilings": {"a": 0.5}}, "'a' must obey 0 <= floor <= ceiling"),
        ({"floors": {"aa": 0.1}}, "unknown group 'aa'; did you mean 'a'"),
        ({"old": (0.5, 1.5)}, "'old' must obey"),
        ({"old": (0.5,)}, "old must be a least and a largest share"),
        ({"old": (0.5, 1), "floors": {"a": 0.1}}, "old cannot be combined"),
        (
            {"method": "multitask", "old": (0, 0.1)},
            "ceilings leave only 70 of 200 rows: new 50, old 20",
        ),
    ],
)
def test_shares_that_cannot_be_kept(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(pool(), 40, **options)


def test_the_first_step_has_no_old_rows() -> None:
    first = Pool(["a", "b"], arrival=np.array([1, 1]))
    assert select(first, 1, method="random", old=(0.0, 0.5)).summary["selected"] == 1
    with pytest.raises(ValueError, match="'old' must give at least 1 of 1 rows"):
        select(first, 1, method="random", old=(0.1, 0.5))
    with pytest.raises(ValueError, match="needs the arrival step"):
        select(Pool(["a"]), 1, method="random", old=(0.0, 0.5))


def with_skills() -> Pool:
    """Two hundred rows: a common skill, one of twelve rows, one of two that come last."""
    skills = ["common"] * 186 + ["rare"] * 12 + ["new"] * 2
    arrival = np.array([1] * 150 + [2] * 50)
    return Pool([f"r{i}" for i in range(200)], arrival=arrival, skills=skills)


def test_every_skill_gets_its_floor() -> None:
    def rows(**options: float) -> list[int]:
        chosen = select(with_skills(), 40, "random", **options).indices
        return np.bincount(np.searchsorted([186, 198], chosen, side="right"), minlength=3).tolist()

    assert rows()[1] < 5 and rows()[2] < 2
    assert rows(skill_floor=0.12) == [33, 5, 2]  # ceil(4.8), and all that there are


def test_sequential_takes_old_rows_of_old_skills_alone() -> None:
    skills = ["old"] * 50 + ["both"] * 50 + ["new"] * 50
    arrival = np.repeat([1, 1, 2, 2], [50, 25, 25, 50])
    pool = Pool([f"r{i}" for i in range(150)], arrival=arrival, skills=skills)
    chosen = select(pool, 30, "sequential", skill_floor=0.1).indices
    old, earlier = (chosen < 50).sum(), ((chosen >= 50) & (chosen < 75)).sum()
    assert (old, earlier, len(chosen)) == (3, 0, 30)


def test_skills_too_many_for_the_floor_share_alike() -> None:
    skills = [f"s{i // 4}" for i in range(40)]
    pool = Pool([f"r{i}" for i in range(40)], skills=skills)
    chosen = select(pool, 25, "random", skill_floor=0.3)
    counts = np.bincount(chosen.indices // 4, minlength=10)
    assert counts.min() >= 2 and counts.sum() == 25
    few = select(pool, 5, "random", skill_floor=0.3)
    assert len(few.indices) == 5


def test_a_choice_that_keeps_the_floor_stands() -> None:
    pool = Pool([f"r{i}" for i in range(200)], skills=["a"] * 100 + ["b"] * 100)
    plain, bound = select(pool, 80, "random"), select(pool, 80, "random", skill_floor=0.2)
    assert bound.indices.tolist() == plain.indices.tolist()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"skill_floor": 0.1, "old": (0, 1)}, "skill_floor cannot be combined"),
        ({"skill_floor": 1.5}, "must be a share"),
    ],
)
def test_floors_that_make_no_sense(options: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        select(with_skills(), 10, "random", **options)
    with pytest.raises(ValueError, match="needs the skill of every row"):
        select(Pool(["a", "b"]), 1, "random", skill_floor=0.5)
