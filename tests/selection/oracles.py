"""Slow and plain versions that more than one test compares with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selection.unit import unit_rows


def edges_by_hand(rows: NDArray[np.float64], q: int) -> dict[tuple[int, int], float]:
    """Squared distance of every joined pair, from all pairs, both ways round."""
    usable = [i for i, row in enumerate(rows) if np.isfinite(row).all() and row.any()]
    unit = {i: unit_rows(rows, np.array([i]))[0].astype(float) for i in usable}
    edges = {}
    for i in usable:
        cosines = {j: round(float(unit[i] @ unit[j]), 6) for j in usable if j != i}
        for j in sorted(cosines, key=lambda j: (-cosines[j], j))[:q]:
            edges[i, j] = edges[j, i] = 2 - 2 * cosines[j]
    return edges
