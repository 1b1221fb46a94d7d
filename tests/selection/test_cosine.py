from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selection.cosine import above, doubt, exact_cosines, nearest_rows, pair_cosines
from selection.unit import unit_rows

Units = NDArray[np.float32]


def units_of(n: int, d: int, seed: int, copies: float = 0.0, noise: float = 0.0) -> Units:
    """Unit rows, a share of them copies of others but for a noise."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    for j in np.flatnonzero(rng.random(n) < copies):
        rows[j] = rows[rng.integers(0, n)] + noise * rng.standard_normal(d)
    units: Units = unit_rows(rows, np.arange(n))
    return units


def by_hand(rows: Units, others: Units) -> NDArray[np.float64]:
    """Every cosine on its own, without any product of matrices."""
    return np.array([[round(sum(map(float, a * b)), 6) for b in others] for a in rows.astype("f8")])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(1, 9),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-7, 1e-5, 1e-3]),
)
def test_every_answer_equals_the_one_by_hand(
    n: int, m: int, d: int, seed: int, noise: float
) -> None:
    units = units_of(n + m, d, seed, copies=0.5, noise=noise)
    rows, others = units[:n], units[n:]
    exact = by_hand(rows, others)
    np.testing.assert_allclose(exact_cosines(rows, others), exact, rtol=0, atol=1.01e-6)
    exact = exact_cosines(rows, others)
    found = nearest_rows(rows, others)
    assert found.places.tolist() == exact.argmax(axis=1).tolist()
    assert found.cosines.tolist() == exact.max(axis=1).tolist()
    for threshold in (-0.5, 0.0, float(exact[0, 0]), 0.99999, 1.0):
        assert (above(rows, others, threshold) == (exact > threshold)).all()


def test_a_pair_alone_and_within_a_product_is_the_same_to_the_last_bit() -> None:
    units = units_of(300, 257, 0)
    product = exact_cosines(units, units)
    left, right = np.divmod(np.arange(0, 90_000, 7), 300)
    np.testing.assert_array_equal(pair_cosines(units[left], units[right]), product[left, right])


def test_rows_compare_with_earlier_ones_only() -> None:
    units = units_of(40, 3, 1, copies=0.5)
    found = nearest_rows(units[30:], units, np.tri(10, k=-1, dtype=np.bool_))
    exact = exact_cosines(units, units)
    for place in range(10):
        candidates = exact[30 + place, : 30 + place]
        assert found.places[place] == candidates.argmax()
        assert found.cosines[place] == candidates.max()
    first = nearest_rows(units[:2], units[:2], np.tri(2, k=-1, dtype=np.bool_))
    assert first.places.tolist() == [-1, 0]
    assert first.cosines[0] == -np.inf


def test_equal_rows_are_decided_without_a_pair_for_each_of_them() -> None:
    """More entries in doubt than fit in pairs: the earliest of the equal ones, cosine 1."""
    units = np.repeat(units_of(1, 64, 2), 500, axis=0)
    found = nearest_rows(units, units)
    assert (found.places == 0).all()
    assert (found.cosines == 1.0).all()
    assert not above(units, units, 1.0).any()
    assert above(units, units, 0.999999).all()


@pytest.mark.parametrize("d", [3, 1024])
def test_the_doubt_covers_what_a_float32_product_errs(d: int) -> None:
    units = units_of(400, d, 3, copies=0.3, noise=1e-3)
    error = np.abs(units @ units.T - exact_cosines(units, units)).max()
    assert error <= doubt(d)


def test_threads_decide_nothing() -> None:
    units = units_of(900, 513, 4, copies=0.5, noise=1e-4)
    answers = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found = nearest_rows(units[600:], units[:600])
            answers.append((found.places.tobytes(), found.cosines.tobytes()))
    assert answers[0] == answers[1]
