"""Cosines whose every decision is exact, at the price of a float32 product.

A float32 product of unit rows is fast, but its last digits hang on the number of threads. So it
only says which entries could decide; those are taken again as float64 sums of the same rows and
rounded to 6 decimals, at which exact copies have 1 and nothing hangs on threads or blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection.pool import Positions

DECIMALS = 6
PAIRS_PER_ROW = 32
"""More entries in doubt than so many per row are taken again as one float64 product."""

Units = NDArray[np.float32]
Cosines = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Per row the place of its nearest candidate (-1: it had none) and their cosine (-inf)."""

    places: Positions
    cosines: Cosines


def exact_cosines(rows: Units, others: Units) -> Cosines:
    """All cosines [n, m] of unit rows [n, d] and [m, d]."""
    product = rows.astype(np.float64) @ others.astype(np.float64).T
    return np.asarray(np.round(product, DECIMALS))


def pair_cosines(rows: Units, others: Units) -> Cosines:
    """Cosine [n] of each unit row [n, d] to the other of the same place [n, d]."""
    sums = np.einsum("ij,ij->i", rows, others, dtype=np.float64)
    return np.asarray(np.round(sums, DECIMALS))


def doubt(dimensions: int) -> float:
    """Most by which a float32 product of unit rows and its rounded cosine can differ."""
    # Summing d products: d units of rounding at most, in whatever order.
    return dimensions * 2.0**-24 + 10.0**-DECIMALS


def nearest_rows(rows: Units, others: Units, earlier: Mask | None = None) -> Nearest:
    """The nearest of ``others`` [m, d] to each of ``rows`` [n, d]; the earlier place wins a tie.

    ``earlier`` [n, b] marks which of the last b others a row may be compared with (default: all).
    """
    rough = rows @ others.T
    if earlier is not None:
        rough[:, len(others) - earlier.shape[1] :][~earlier] = -np.inf
    places = rough.argmax(axis=1)
    top = rough[np.arange(len(rows)), places]
    cosines = pair_cosines(rows, others[places])
    places[top == -np.inf], cosines[top == -np.inf] = -1, -np.inf
    # The largest may be another entry, or a tie, only where a second one comes close to it.
    near = rough >= (top - 2 * doubt(rows.shape[1]))[:, None]
    near[top == -np.inf] = False
    open_rows = np.flatnonzero(np.count_nonzero(near, axis=1) > 1)
    if len(open_rows):
        exact = _exact_where(rows[open_rows], others, near[open_rows])
        places[open_rows] = exact.argmax(axis=1)
        cosines[open_rows] = exact.max(axis=1)
    return Nearest(places, cosines)


def above(rows: Units, others: Units, threshold: float) -> Mask:
    """Which cosines [n, m] of unit rows [n, d] and [m, d] exceed the threshold."""
    rough = rows @ others.T
    close = rough > threshold
    unsure = np.abs(rough - threshold) <= doubt(rows.shape[1])
    open_rows = np.flatnonzero(unsure.any(axis=1))
    exact = _exact_where(rows[open_rows], others, unsure[open_rows])
    close[open_rows] = np.where(unsure[open_rows], exact > threshold, close[open_rows])
    return np.asarray(close)


def _exact_where(rows: Units, others: Units, wanted: Mask) -> Cosines:
    """Exact cosines [n, m] where wanted, -inf elsewhere."""
    exact = np.full(wanted.shape, -np.inf)
    if np.count_nonzero(wanted) > PAIRS_PER_ROW * len(rows):
        exact[wanted] = exact_cosines(rows, others)[wanted]
    else:
        left, right = np.nonzero(wanted)
        exact[left, right] = pair_cosines(rows[left], others[right])
    return exact
