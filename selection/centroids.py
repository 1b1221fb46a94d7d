"""Pseudo-skills that outlive their step: rows brought to centroids learnt earlier."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from selection.pool import Matrix, Positions
from selection.unit import blocks, row_peaks, unit_rows

Centroids = NDArray[np.float32]
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Per row the number of its nearest centroid (-1: no direction) and their cosine (NaN)."""

    labels: Positions
    similarity: NDArray[np.float32]


def assign(features: Matrix, centroids: Matrix) -> Assignment:
    """Nearest of the ``centroids`` [k, d] to each row of ``features`` [n, d], by cosine.

    Rows may have any scale; zero and non-finite rows have no direction. The lower number wins a
    tie. O(n k d) time, memory of one block of rows, so ``features`` may be a memmap. With the
    centroids of a selection and its own features this gives the clusters of that selection.

    Raises ValueError for centroids that :func:`checked_centroids` refuses.
    """
    units = checked_centroids(centroids, features.shape[1])
    peaks = row_peaks(features)
    usable = np.flatnonzero(np.isfinite(peaks) & (peaks > 0))
    labels = np.full(len(features), -1, dtype=np.int64)
    similarity = np.full(len(features), np.nan, dtype=np.float32)
    found = nearest_centroids(features, usable, units)
    labels[usable], similarity[usable] = found.labels, found.similarity
    return Assignment(labels, similarity)


def nearest_centroids(features: Matrix, usable: Positions, centroids: Centroids) -> Assignment:
    """That of the given rows alone, all of which must have a direction."""
    labels = np.zeros(len(usable), dtype=np.int64)
    similarity = np.zeros(len(usable), dtype=np.float32)
    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    for block in blocks(len(usable)):
        cosines, nearest = index.search(unit_rows(features, usable[block]), 1)
        labels[block], similarity[block] = nearest[:, 0], cosines[:, 0]
    return Assignment(labels, similarity)


def checked_centroids(centroids: Matrix, dimensions: int) -> Centroids:
    """The centroids as float32 unit rows [k, d], k at least 1.

    Those of norm 1, or 0 (the mean of rows that cancel out), stay as they are to the last bit; the
    others are normalised. ValueError when the shape does not fit ``dimensions`` or a value is not
    finite.
    """
    units = np.array(centroids, dtype=np.float32, order="C")
    if units.ndim != 2 or not len(units) or units.shape[1] != dimensions:
        raise ValueError(
            f"centroids must have the shape [k, {dimensions}], but theirs is {units.shape}"
        )
    peaks = row_peaks(units)
    unfit = np.flatnonzero(~np.isfinite(peaks))
    if len(unfit):
        raise ValueError(f"centroids must be finite, but number {unfit[0]} is not")
    norms = np.linalg.norm(units.astype(np.float64), axis=1)
    others = np.flatnonzero((np.abs(norms - 1) > TOLERANCE) & (peaks > 0))
    if len(others):
        units[others] = unit_rows(units, others)
    return units
