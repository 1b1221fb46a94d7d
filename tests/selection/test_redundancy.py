from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selection.cosine import exact_cosines
from selection.redundancy import redundancy
from selection.unit import unit_rows


def redundancy_by_hand(rows: NDArray[np.float64]) -> tuple[list[int], list[float]]:
    """Dense form: every pair of float32 unit rows, one at a time."""
    nearest, similarity = [-1], [-np.inf]
    units = unit_rows(rows, np.arange(len(rows))).astype(np.float64)
    for j in range(1, len(rows)):
        cosines = [round(float(a @ units[j]), 6) for a in units[:j]]
        nearest.append(cosines.index(max(cosines)))
        similarity.append(max(cosines))
    return nearest, similarity


@pytest.mark.parametrize("block_rows", [1, 2, 7, 64, 200, 1024])
@pytest.mark.parametrize("n", [1, 2, 200])
def test_blocks_equal_the_dense_form(block_rows: int, n: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, 5))
    rows[n // 2 :] = rows[rng.integers(0, n // 2 + 1, n - n // 2)]
    nearest, similarity = redundancy_by_hand(rows)
    for earlier_rows in (block_rows, 3 * block_rows + 1, 4096):
        found = redundancy(rows, np.arange(n), block_rows=block_rows, earlier_rows=earlier_rows)
        assert found.nearest.tolist() == nearest
        assert found.similarity.tolist() == similarity


def test_only_the_rows_asked_for_are_compared() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.0, 2.0]], np.float16)
    found = redundancy(rows, np.array([1, 2, 3]))
    assert found.nearest.tolist() == [-1, 0, 0]
    assert found.similarity[2] == 1.0


def test_negative_cosines_are_not_clipped() -> None:
    """Zeros of a triangle made the released code take -1 and -0.5 for 0."""
    angles = np.radians([0.0, 180.0, 60.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    opposite = redundancy(rows, np.array([0, 1]))
    assert opposite.similarity.tolist() == [-np.inf, -1.0]
    tilted = redundancy(rows, np.array([1, 2]))
    assert tilted.similarity[1] == pytest.approx(-0.5)


def test_copies_tie_exactly_and_the_older_is_kept() -> None:
    rng = np.random.default_rng(0)
    rows = np.tile(rng.standard_normal((50, 37)).astype(np.float16), (3, 1))
    found = redundancy(rows, np.arange(150), block_rows=16)
    assert (found.similarity[50:] == 1.0).all()
    np.testing.assert_array_equal(found.nearest[50:100], np.arange(50))
    np.testing.assert_array_equal(found.nearest[100:], np.arange(50))
    assert found.keep(60).tolist() == list(range(60))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(0, 70),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 10**6),
)
def test_a_budget_spares_comparisons_and_keeps_the_same(
    n: int, budget: int, block_rows: int, earlier_rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-3, 4, (n, 3)).astype(np.float32)
    rows[~rows.any(axis=1)] = 1
    whole = redundancy(rows, np.arange(n))
    spared = redundancy(
        rows, np.arange(n), budget, block_rows=block_rows, earlier_rows=earlier_rows
    )
    kept = whole.keep(budget)
    assert spared.keep(budget).tolist() == kept.tolist()
    np.testing.assert_array_equal(spared.similarity[kept], whole.similarity[kept])
    assert (spared.similarity <= whole.similarity).all()
    units = unit_rows(rows, np.arange(n))
    for j in np.flatnonzero(spared.nearest >= 0):
        cosine = exact_cosines(units[[j]], units[[spared.nearest[j]]])[0, 0]
        assert spared.nearest[j] < j
        assert spared.similarity[j] == cosine


def test_a_tight_budget_closes_most_rows_early() -> None:
    rows = np.random.default_rng(0).standard_normal((3000, 8))
    whole = redundancy(rows, np.arange(3000))
    spared = redundancy(rows, np.arange(3000), 20, earlier_rows=300)
    assert (spared.similarity < whole.similarity).mean() > 0.5
    assert spared.keep(20).tolist() == whole.keep(20).tolist()
