from __future__ import annotations

import numpy as np
import pytest

from selection import Pool, Request
from selection.allotment import cluster_budgets, cluster_means

MEMBERS = [np.arange(0, 2), np.arange(2, 6), np.arange(6, 12)]
EL2N = np.array([np.nan, 3.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, np.inf])
POOL = Pool([str(i) for i in range(12)], scores={"el2n": EL2N, "mine": -EL2N})


def budgets(rule: str, budget: int, scorer: str = "max-entropy") -> list[int]:
    request = Request(budget, scorer=scorer, budgets=rule)
    return cluster_budgets(POOL, MEMBERS, request).tolist()


def test_budgets_by_hand() -> None:
    assert budgets("uniform", 7) == [2, 2, 3]
    assert budgets("size", 6) == [1, 2, 3]
    assert budgets("size", 7) == [1, 2, 4]
    assert budgets("score-weighted", 6) == [2, 1, 3]
    assert budgets("score-weighted", 3) == [2, 0, 1]
    assert [sum(budgets(rule, 40)) for rule in ("uniform", "size", "score-weighted")] == [12] * 3


def test_the_fixed_score_weighs() -> None:
    with pytest.raises(
        ValueError, match="'mine' that are not negative, but that of cluster 0 is -"
    ):
        budgets("score-weighted", 6, scorer="mine")
    assert budgets("score-weighted", 6, scorer="el2n") == budgets("score-weighted", 6)


def test_clusters_without_a_score_count_as_average() -> None:
    column = np.array([1.0, 3.0, np.nan, np.nan])
    parts = [np.array([0]), np.array([1]), np.array([2, 3]), np.array([], dtype=np.int64)]
    assert cluster_means(column, parts).tolist() == [1.0, 3.0, 2.0, 2.0]
    assert cluster_means(np.full(4, np.nan), parts).tolist() == [1.0] * 4


def test_the_score_must_be_there() -> None:
    with pytest.raises(ValueError, match="budgets need the score 'el2n'"):
        cluster_budgets(Pool(["a"]), [np.array([0])], Request(1, budgets="score-weighted"))
