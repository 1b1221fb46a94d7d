from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.budget import proportional


def by_hand(weights: list[int], limits: list[int], total: int) -> list[int]:
    """The docstring in exact fractions, one set after the other."""
    shares = [0] * len(limits)
    rest = min(total, sum(limits))
    for weighted in (True, False):
        free = [i for i, w in enumerate(weights) if (w > 0) == weighted]
        part = weights if weighted else limits
        given_here = min(rest, sum(limits[i] for i in free))
        rest -= given_here
        real: dict[int, Fraction] = {}
        left = given_here
        while free:
            whole = sum(part[i] for i in free)
            scaled = {i: Fraction(part[i] * left, whole) if whole else Fraction(0) for i in free}
            full = [i for i in free if scaled[i] >= limits[i]]
            if not full:
                real |= scaled
                break
            real |= {i: Fraction(limits[i]) for i in full}
            left -= sum(limits[i] for i in full)
            free = [i for i in free if i not in full]
        for i, value in real.items():
            shares[i] = math.floor(value)
        missing = given_here - sum(shares[i] for i in real)
        order = sorted(real, key=lambda i: (shares[i] - real[i], i))
        for i in order[:missing]:
            shares[i] += 1
    return shares


SETS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 15)), max_size=9)


@settings(max_examples=300)
@given(sets=SETS, total=st.integers(0, 160))
def test_shares_equal_the_fractions(sets: list[tuple[int, int]], total: int) -> None:
    weights, limits = [w for w, _ in sets], [limit for _, limit in sets]
    assert proportional(weights, limits, total).tolist() == by_hand(weights, limits, total)


@settings(max_examples=300)
@given(
    sets=st.lists(st.tuples(st.floats(0, 1e300), st.integers(0, 10**6)), max_size=9),
    total=st.integers(0, 10**7),
)
def test_the_sum_is_exact_and_no_limit_is_passed(sets: list[tuple[float, int]], total: int) -> None:
    weights, limits = [w for w, _ in sets], [limit for _, limit in sets]
    shares = proportional(weights, limits, total).tolist()
    assert sum(shares) == min(total, sum(limits))
    assert all(0 <= share <= limit for share, limit in zip(shares, limits, strict=True))


def test_shares_by_hand() -> None:
    assert proportional([1, 2, 3], [100, 100, 100], 12).tolist() == [2, 4, 6]
    assert proportional([1, 1, 1], [9, 9, 9], 5).tolist() == [2, 2, 1]
    assert proportional([8, 1, 1], [3, 9, 9], 9).tolist() == [3, 3, 3]
    assert proportional([1, 0, 0], [2, 4, 8], 8).tolist() == [2, 2, 4]
    assert proportional([0.1, 0.2], [10, 10], 3).tolist() == [1, 2]
    assert proportional([], [], 4).tolist() == []


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_weights_must_be_finite_and_not_negative(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        proportional([1.0, bad], [1, 1], 1)
