"""The rows that a selection chooses from: equally long columns, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Columns of ``n`` rows each, in pool order: older rows first.

    ``features`` [n, d] are what rows are clustered by (a float array or memmap, any scale; rows are
    L2-normalised on use), or None for methods that need none. ``scores`` are named columns [n];
    NaN and infinity mean "not measured". ``embeddings`` [n, e] are what pruning compares.
    ``groups`` (a dataset or skill per row) are counted in the summary. ``arrival`` [n] is the step
    at which a row came, the newest being the largest. ``skills`` are what a floor per skill is of.

    Raises ValueError naming the column whose length, shape or type does not fit.
    """

    ids: Sequence[str]
    features: Matrix | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    embeddings: Matrix | None = None
    groups: Sequence[str] | None = None
    arrival: NDArray[np.int64] | None = None
    skills: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Bring every column to its one form and check it against the number of ids."""
        n = len(self.ids)
        columns: dict[str, object] = {
            "ids": tuple(str(name) for name in self.ids),
            "features": _matrix("features", self.features, n),
            "embeddings": _matrix("embeddings", self.embeddings, n),
            "scores": {name: _score(name, column, n) for name, column in self.scores.items()},
            "groups": _labels("groups", self.groups, n),
            "arrival": _steps(self.arrival, n),
            "skills": _labels("skills", self.skills, n),
        }
        for name, column in columns.items():
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ids)


def _matrix(name: str, values: object, n: int) -> Matrix | None:
    if values is None:
        return None
    matrix = np.asarray(values)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"{name} must be a matrix [rows, dimensions], but its shape is {matrix.shape}"
        )
    if not np.issubdtype(matrix.dtype, np.floating):
        raise ValueError(f"{name} must be float16 or float32, but its type is {matrix.dtype}")
    _check_length(name, len(matrix), n)
    return matrix


def _score(name: str, values: object, n: int) -> Scores:
    label = f"scores[{name!r}]"
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{label} must hold numbers: {error}") from error
    _check_column(label, column, n)
    return column


def _steps(values: object, n: int) -> NDArray[np.int64] | None:
    if values is None:
        return None
    column = np.asarray(values)
    _check_column("arrival", column, n)
    if n and not np.issubdtype(column.dtype, np.integer):
        raise ValueError(f"arrival must hold whole numbers, but its type is {column.dtype}")
    return column.astype(np.int64)


def _labels(name: str, values: Sequence[str] | None, n: int) -> tuple[str, ...] | None:
    if values is None:
        return None
    _check_length(name, len(values), n)
    return tuple(str(value) for value in values)


def _check_column(name: str, column: NDArray[Any], n: int) -> None:
    if column.ndim != 1:
        raise ValueError(f"{name} must be one column, but its shape is {column.shape}")
    _check_length(name, len(column), n)


def _check_length(name: str, length: int, n: int) -> None:
    if length != n:
        raise ValueError(f"{name} has {length} rows, but there are {n} ids")
