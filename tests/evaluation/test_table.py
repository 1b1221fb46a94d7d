"""The matrix as plain text."""

from __future__ import annotations

import numpy as np
import pytest

from adaptinf.evaluation.table import matrix_table


def test_golden() -> None:
    text = matrix_table(
        ["base", "1-llava", "2-m3it"],
        ["colour", "digits"],
        np.array([[12.5, 3.0], [80.0, 9.96], [55.5, 100.0]]),
        np.array([1, 2]),
        np.array([24.5, np.nan]),
    )
    assert text.splitlines() == [
        "benchmark    base  1-llava  2-m3it    drop",
        "colour      12.5     80.0*   55.5     24.5",
        "digits       3.0     10.0   100.0*       -",
        "average      7.8     45.0    77.8     24.5",
        "* the step that taught it; drop: best since then, minus the last step",
    ]


@pytest.mark.parametrize("rows", [1, 6, 7, 9, 40])
@pytest.mark.parametrize("name", ["b", "object-places-of-every-kind-and-more"])
def test_fits_100_columns_in_ascii(rows: int, name: str) -> None:
    names = [f"{i}-{name}" for i in range(12)]
    steps = ["base", *(f"{row}-vision_flan" for row in range(1, rows))]
    scores = np.full((rows, 12), 100.0)
    text = matrix_table(steps, names, scores, np.arange(12), np.full(12, -100.0))
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) <= 100
    header = text.splitlines()[0]
    assert "base" in header and steps[-1][:4] in header
    assert [line.split()[0] for line in text.splitlines()[1:13]] == [
        n if len(n) <= 28 else n[:26] + ".." for n in names
    ]


def test_says_how_many_steps_it_left_out() -> None:
    steps = ["base", *(str(row) for row in range(1, 40))]
    text = matrix_table(steps, ["a"], np.zeros((40, 1)), np.zeros(1), np.full(1, np.nan))
    shown = text.splitlines()[0].split()[1:-1]
    assert shown[0] == "base" and shown[-1] == "39"
    assert text.splitlines()[-1] == f"steps left out for width: {40 - len(shown)}"
