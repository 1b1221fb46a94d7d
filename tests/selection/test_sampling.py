from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.sampling import SAMPLING

SCORES = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf])),
    max_size=25,
)


def picked(rule: str, scores: list[float], budget: int, seed: int = 0) -> list[int]:
    sample = SAMPLING[rule](np.array(scores), budget, np.random.default_rng(seed))
    assert len(sample.strata) == len(sample.places)
    return sample.places.tolist()


def by_hand(rule: str, scores: list[float], budget: int) -> list[int]:
    finite = [i for i, score in enumerate(scores) if math.isfinite(score)]
    others = [i for i in range(len(scores)) if i not in finite]
    finite.sort(key=lambda i: -scores[i] if rule == "top" else scores[i])
    if rule == "middle" and budget < len(finite):
        start = (len(finite) - budget) // 2
        return sorted(finite[start : start + budget])
    return sorted((finite + others)[:budget])


@settings(max_examples=200)
@given(scores=SCORES, budget=st.integers(0, 30), rule=st.sampled_from(["top", "bottom", "middle"]))
def test_ranges_equal_the_plain_sort(scores: list[float], budget: int, rule: str) -> None:
    assert picked(rule, scores, budget) == by_hand(rule, scores, budget)


@settings(max_examples=100)
@given(scores=SCORES, budget=st.integers(0, 30), rule=st.sampled_from(sorted(SAMPLING)))
def test_every_rule_meets_its_budget(scores: list[float], budget: int, rule: str) -> None:
    places = picked(rule, scores, budget)
    assert len(places) == min(budget, len(scores))
    assert places == sorted(set(places))


def test_the_middle_by_hand() -> None:
    """Released code: 4 of 10 for a budget of 5, and none for a budget of 10."""
    scores = [float(score) for score in range(10)]
    assert picked("middle", scores, 5) == [2, 3, 4, 5, 6]
    assert picked("middle", scores, 10) == list(range(10))
    assert picked("middle", [9.0, math.nan, 1.0, 5.0], 1) == [3]


def test_random_rows_are_distinct_nested_and_equally_likely() -> None:
    """Released code drew with replacement."""
    counts = np.zeros(8)
    for seed in range(2000):
        small, large = (picked("random", [0.0] * 8, b, seed) for b in (3, 5))
        assert set(small) < set(large)
        counts[small] += 1
    # 750 expected, standard deviation sqrt(2000 * 3/8 * 5/8) = 21.7; five of them.
    assert np.abs(counts - 750).max() < 109


@pytest.mark.parametrize("rule", ["top", "bottom", "middle"])
def test_the_unit_of_the_score_decides_nothing(rule: str) -> None:
    scores = np.random.default_rng(0).integers(0, 9, 40).astype(float).tolist()
    moved = [3.5 * score - 20 for score in scores]
    assert picked(rule, moved, 11) == picked(rule, scores, 11)
