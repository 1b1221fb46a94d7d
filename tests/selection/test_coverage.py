from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.coverage import STRATA, TRIMMED, UNSCORED, sample_coverage, stratify

SCORES = st.lists(
    st.one_of(
        st.integers(-5, 5).map(float),
        st.floats(-1e6, 1e6),
        st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324]),
    ),
    max_size=120,
)


def strata_by_hand(scores: list[float]) -> list[int]:
    """Rules of the docstring, one row at a time."""
    ranked = sorted(x for x in scores if math.isfinite(x))
    cut = len(ranked) // 20
    strata = []
    for x in scores:
        if not math.isfinite(x):
            strata.append(UNSCORED)
        elif not ranked[cut] <= x <= ranked[-1 - cut]:
            strata.append(TRIMMED)
        elif ranked[cut] == ranked[-1 - cut]:
            strata.append(0)
        else:
            share = (x - ranked[cut]) / (ranked[-1 - cut] - ranked[cut])
            strata.append(min(STRATA - 1, int(share * STRATA)))
    return strata


@pytest.mark.parametrize("n", [1, 2, 19, 20, 21, 40, 500])
def test_strata_equal_the_plain_rules(n: int) -> None:
    scores = np.random.default_rng(n).lognormal(size=n)
    scores[5::17] = np.nan
    assert stratify(scores).tolist() == strata_by_hand(scores.tolist())


def test_strata_by_hand() -> None:
    assert stratify(np.array([0.0, 25.0, 50.0, np.nan, 49.9])).tolist() == [0, 25, 49, 50, 49]
    assert stratify(np.array([2.0, 2.0, np.inf])).tolist() == [0, 0, 50]
    ramp = stratify(np.arange(40.0))
    assert np.flatnonzero(ramp == TRIMMED).tolist() == [0, 1, 38, 39]


def test_a_change_of_unit_moves_no_row() -> None:
    scores = np.random.default_rng(0).integers(-30, 30, 300).astype(float)
    for factor in (1e-6, 0.1, 3.0, 1e6):
        np.testing.assert_array_equal(stratify(scores * factor + 7 * factor), stratify(scores))


@settings(max_examples=300)
@given(SCORES, st.integers(0, 140), st.integers(0, 3))
def test_the_budget_is_met_without_repeats(scores: list[float], budget: int, seed: int) -> None:
    """Released code: 50 for 10, 2,048 of 2,500 asked, none of a constant score, or a crash."""
    column = np.array(scores)
    sample = sample_coverage(column, budget, np.random.default_rng(seed))
    assert len(sample.places) == min(budget, len(scores))
    assert len(set(sample.places.tolist())) == len(sample.places)
    np.testing.assert_array_equal(sample.strata, stratify(column)[sample.places])


@settings(max_examples=100)
@given(SCORES, st.integers(0, 140))
def test_trimmed_rows_come_last_and_small_strata_are_emptied_first(
    scores: list[float], budget: int
) -> None:
    column = np.array(scores)
    sample = sample_coverage(column, budget, np.random.default_rng(0))
    sizes = np.bincount(stratify(column), minlength=TRIMMED + 1)
    taken = np.bincount(sample.strata, minlength=TRIMMED + 1)
    assert taken[TRIMMED] == max(0, min(budget, len(scores)) - sizes[:TRIMMED].sum())
    short = taken[:TRIMMED] < sizes[:TRIMMED]
    if short.any():
        level = taken[:TRIMMED][short]
        assert taken[:TRIMMED].max() - level.min() <= 1


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (n, b)
        for n in ("left-skewed", "ties", "gapped", "constant")
        for b in (10, 49, 255, 2500, 4500)
    ],
)
def test_clusters_on_which_the_released_code_fails(name: str, asked: int) -> None:
    rng = np.random.default_rng(0)
    column = {
        "left-skewed": -rng.lognormal(size=5000),
        "ties": rng.integers(0, 4, 5000).astype(float),
        "gapped": np.append(rng.normal(0, 1, 4900), rng.normal(1000, 1, 100)),
        "constant": np.full(5000, 0.1),
    }[name]
    assert len(sample_coverage(column, asked, rng).places) == asked


def test_all_strata_are_covered() -> None:
    scores = np.random.default_rng(0).standard_normal(5000)
    sample = sample_coverage(scores, 100, np.random.default_rng(0))
    assert np.bincount(sample.strata, minlength=STRATA).tolist() == [2] * STRATA


def test_rows_without_a_score_are_one_stratum_more() -> None:
    column = np.append(np.repeat([0.0, 1.0], 100), np.full(50, np.nan))
    sample = sample_coverage(column, 30, np.random.default_rng(0))
    assert np.bincount(sample.strata)[[0, 49, UNSCORED]].tolist() == [10, 10, 10]


def test_a_larger_draw_contains_the_smaller_one() -> None:
    scores = np.random.default_rng(0).standard_normal(400)
    draws = [
        set(sample_coverage(scores, budget, np.random.default_rng(5)).places.tolist())
        for budget in range(0, 401, 25)
    ]
    assert all(small < large for small, large in pairwise(draws))


def test_rows_of_a_stratum_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    counts = sum(
        np.bincount(sample_coverage(np.zeros(8), 2, rng).places, minlength=8) for _ in range(4000)
    )
    # 1,000 expected, standard deviation sqrt(4000 * 1/4 * 3/4) = 27.4; five of them.
    assert np.abs(counts - 1000).max() < 137
