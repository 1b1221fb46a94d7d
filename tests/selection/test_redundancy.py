from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from selection.redundancy import redundancy


def redundancy_by_hand(rows: NDArray[np.float64]) -> tuple[list[int], list[float]]:
    """Dense form: every pair, one at a time."""
    nearest, similarity = [-1], [-np.inf]
    for j in range(1, len(rows)):
        cosines = [
            round(float(a @ rows[j] / np.linalg.norm(a) / np.linalg.norm(rows[j])), 9)
            for a in rows[:j]
        ]
        nearest.append(cosines.index(max(cosines)))
        similarity.append(max(cosines))
    return nearest, similarity


@pytest.mark.parametrize("block_rows", [1, 2, 7, 64, 200, 1024])
@pytest.mark.parametrize("n", [1, 2, 200])
def test_blocks_equal_the_dense_form(block_rows: int, n: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, 5))
    rows[n // 2 :] = rows[rng.integers(0, n // 2 + 1, n - n // 2)]
    found = redundancy(rows, np.arange(n), block_rows)
    nearest, similarity = redundancy_by_hand(rows)
    assert found.nearest.tolist() == nearest
    np.testing.assert_allclose(found.similarity, similarity, rtol=0, atol=2e-9)


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
    found = redundancy(rows, np.arange(150), 16)
    assert (found.similarity[50:] == 1.0).all()
    np.testing.assert_array_equal(found.nearest[50:100], np.arange(50))
    np.testing.assert_array_equal(found.nearest[100:], np.arange(50))
    assert found.keep(60).tolist() == list(range(60))
