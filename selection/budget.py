"""Integer budgets: how many rows each of several sets may give."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selection.names import CLUSTERS
from selection.words import check_word


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


def proportional(weights: ArrayLike, limits: ArrayLike, total: int) -> NDArray[np.int64]:
    """Integer shares of ``total`` in proportion to ``weights`` [k], none above its limit [k].

    With the smallest factor f for which the sum is min(total, sum of limits), the real shares are
    min(limit, f weight): what a full set cannot take flows to the others by their weights, and to
    sets of weight 0 (by their limits) only once all others are full. Each is rounded down, and the
    missing ones go to the largest remainders, the earlier set winning a tie. O(k^2).

    Raises ValueError when a weight is negative or not finite.
    """
    caps = np.asarray(limits, dtype=np.int64)
    pull = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(pull) & (pull >= 0)).all():
        raise ValueError("weights of a proportional share must be finite and not negative")
    rest = min(total, int(caps.sum()))
    shares = np.zeros(len(caps), dtype=np.int64)
    for weighted, parts in ((pull > 0, pull), (pull == 0, caps)):
        chosen = np.flatnonzero(weighted & (caps > 0))
        given = min(rest, int(caps[chosen].sum()))
        shares[chosen] = _rounded(_capped(parts[chosen], caps[chosen], given), given)
        rest -= given
    return shares


def _capped(parts: NDArray[Any], caps: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """Real shares min(cap, f part) [k] of sum ``total``, which the caps must allow."""
    real = caps.astype(np.float64)
    free = np.arange(len(caps))
    rest = total
    while len(free):
        # Divided by the peak first: the sum of very large weights leaves the float range.
        weights = parts[free] / parts[free].max()
        scaled = weights / weights.sum() * rest
        over = scaled >= caps[free]
        if not over.any():
            real[free] = scaled
            break
        rest -= int(caps[free[over]].sum())
        free = free[~over]
    return real


def _rounded(real: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Integers [k] of sum ``total`` next to the real shares, by largest remainder."""
    # Rounded first, so that the last bits neither lose a whole row nor break a tie.
    near = np.round(real, 9)
    shares = np.floor(near).astype(np.int64)
    order = np.argsort(np.round(shares - near, 9), kind="stable")
    shares[order[: total - int(shares.sum())]] += 1
    return shares


def cluster_count(clusters: int | str, budget: int, rows: int) -> int:
    """Number of k-means clusters: as asked, or round(sqrt(budget)) for "auto".

    That is also the number for "elbow" and "silhouette" as long as no rows have been looked at
    (:func:`selection.curve.count_curve` does so). Never below 1, nor above the number of usable
    rows. ValueError for anything else.
    """
    if isinstance(clusters, str):
        check_word("clusters", clusters, CLUSTERS)
        wanted = round(math.sqrt(budget))
    elif (wanted := whole_number("clusters", clusters)) < 1:
        raise ValueError(f"clusters must be above 0, or one of {', '.join(CLUSTERS)}")
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
