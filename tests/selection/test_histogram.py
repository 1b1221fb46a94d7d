from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selection.histogram import equal_bins


def test_bins_by_hand() -> None:
    values = np.array([-9.0, 0.0, 0.99, 1.0, 2.5, 4.0, 9.0])
    assert equal_bins(values, 0.0, 4.0, 4).tolist() == [0, 0, 0, 1, 2, 3, 3]


def test_no_width_is_one_bin() -> None:
    assert equal_bins(np.array([3.0, 3.0]), 3.0, 3.0, 50).tolist() == [0, 0]


@given(
    whole=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    power=st.integers(-300, 300),
)
def test_values_on_an_edge_stay_in_their_bin_in_any_unit(whole: list[int], power: int) -> None:
    unit = 10.0**power
    bins = equal_bins(np.array(whole) * unit, 0.0, 50 * unit, 50)
    assert bins.tolist() == [min(value, 49) for value in whole]


@pytest.mark.parametrize("extreme", [1e308, 5e-324])
def test_the_whole_float_range_has_bins(extreme: float) -> None:
    assert equal_bins(np.array([-extreme, extreme]), -extreme, extreme, 50).tolist() == [0, 49]
