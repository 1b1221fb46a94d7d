"""Integer budgets: how many rows each of several sets may give."""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray


def water_fill(sizes: ArrayLike, total: int) -> NDArray[np.int64]:
    """As equal integer shares of ``total`` as the sizes allow, in the order of ``sizes`` [k].

    In ascending order of size the r-th of k sets takes min(size_r, floor(rest / (k - r))), and
    ``rest`` shrinks by it: what small sets cannot use flows to larger ones. The sum is exactly
    min(total, sum of sizes), no share exceeds its size, and no set gets more than a larger one.
    O(k log k). Budget rule of CCS (arXiv 2210.15809, algorithm 1).
    """
    limits = np.asarray(sizes, dtype=np.int64)
    shares = np.zeros(len(limits), dtype=np.int64)
    rest = total
    for done, place in enumerate(np.argsort(limits, kind="stable")):
        shares[place] = min(int(limits[place]), rest // (len(limits) - done))
        rest -= int(shares[place])
    return shares


def cluster_count(clusters: int | str, budget: int, rows: int) -> int:
    """Number of k-means clusters: as asked, or round(sqrt(budget)) for "auto".

    Never below 1, nor above the number of usable rows. ValueError for anything else.
    """
    if clusters == "auto":
        wanted = round(math.sqrt(budget))
    elif isinstance(clusters, str) or (wanted := whole_number("clusters", clusters)) < 1:
        raise ValueError(f"clusters must be 'auto' or a whole number above 0 (seen: {clusters!r})")
    return max(1, min(wanted, rows))


def whole_number(name: str, value: SupportsIndex) -> int:
    """The value as an int; ValueError when it is negative or no whole number."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number (seen: {value!r})") from None
    if number < 0:
        raise ValueError(f"{name} must not be negative (seen: {value!r})")
    return number
