"""Bootstrap intervals of a mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptinf.evaluation import intervals
from adaptinf.evaluation.intervals import bootstrap_interval


def test_equal_values_have_no_width() -> None:
    interval = bootstrap_interval([0.25] * 7, seed=0)
    assert interval.low == pytest.approx(0.25) and interval.high == pytest.approx(0.25)


def test_width_is_that_of_the_normal_approximation_for_many_items() -> None:
    values = np.repeat([0.0, 1.0], [600, 1400])
    interval = bootstrap_interval(values, seed=0)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 2000)
    assert interval.low == pytest.approx(0.7 - half, abs=0.003)
    assert interval.high == pytest.approx(0.7 + half, abs=0.003)


def test_agrees_with_drawing_items_one_by_one() -> None:
    rng = np.random.default_rng(5)
    values = rng.random(40) ** 2
    drawn = values[rng.integers(0, 40, size=(40_000, 40))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    interval = bootstrap_interval(values, seed=1)
    assert interval.low == pytest.approx(low, abs=0.01)
    assert interval.high == pytest.approx(high, abs=0.01)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    trials = [bootstrap_interval(rng.random(200) < 0.7, seed=trial) for trial in range(400)]
    covered = sum(interval.low <= 0.7 <= interval.high for interval in trials)
    assert 0.92 <= covered / 400 <= 0.98


def test_blocks_that_keep_memory_bounded_give_the_same_resamples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).random(50)
    whole = bootstrap_interval(values, seed=2)
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 50 * 300)
    assert bootstrap_interval(values, seed=2) == whole


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 3), st.randoms())
def test_same_values_and_seed_give_the_same_interval(values, seed, random) -> None:
    interval = bootstrap_interval(values, seed)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert bootstrap_interval(shuffled, seed) == interval
    assert min(values) - 1e-12 <= interval.low <= interval.high <= max(values) + 1e-12


def test_another_seed_draws_other_resamples() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_interval(values, seed=0) != bootstrap_interval(values, seed=1)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [[0.5]]])
def test_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one finite value"):
        bootstrap_interval(values, seed=0)
