"""Matrices of floats in .npy files: mapped, or joined from shards, or side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaptinf.errors import UserError
from selection.pool import Matrix
from selection.unit import blocks

GLOB_MARKS = frozenset("*?[")


@dataclass(frozen=True, slots=True, eq=False)
class MatrixFile:
    """A matrix and where it was read from."""

    where: str
    matrix: Matrix


def read_matrix(source: str, prefixes: Sequence[str]) -> MatrixFile:
    """The float matrix [rows, d] of a .npy file, of a folder of shards, or of a glob.

    One file is mapped, so that it may be larger than memory. Several, in the order of their names,
    are copied into one array in memory. A folder holds ``PREFIX-*.npy`` of the first of the
    ``prefixes`` that is there.

    Raises UserError naming the file that is missing, broken, pickled, not a float matrix, or not
    as wide as the first.
    """
    parts = [MatrixFile(str(path), _load(path)) for path in _shards(source, prefixes)]
    first = parts[0].matrix
    for part in parts[1:]:
        if part.matrix.shape[1] != first.shape[1] or part.matrix.dtype != first.dtype:
            raise UserError(
                f"this shard does not continue {parts[0].where}, which is"
                f" {first.dtype} [rows, {first.shape[1]}]",
                where=part.where,
                seen=f"{part.matrix.dtype} {list(part.matrix.shape)}",
            )
    whole = first if len(parts) == 1 else np.concatenate([part.matrix for part in parts])
    return MatrixFile(source, whole)


def side_by_side(left: Matrix, right: Matrix) -> Matrix:
    """Rows of both, each half with L2 norm 1, as one float16 matrix in memory; zero halves stay.

    So both count alike, whatever their width and scale. A row that is not finite stays so.
    """
    width = left.shape[1]
    joined = np.empty((len(left), width + right.shape[1]), dtype=np.float16)
    for block in blocks(len(left)):
        joined[block, :width] = _units(left[block])
        joined[block, width:] = _units(right[block])
    return joined


def _units(rows: Matrix) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore", over="ignore"):
        wide = np.asarray(rows, dtype=np.float32)
        # Divided by the peak first: squares of very large values leave the float range.
        scaled = _divided(wide, np.abs(wide).max(axis=1, keepdims=True))
        return _divided(scaled, np.linalg.norm(scaled, axis=1, keepdims=True))


def _divided(rows: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(rows, np.where(sizes == 0, 1, sizes), dtype=np.float32)


def _shards(source: str, prefixes: Sequence[str]) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        found: list[Path] = []
        for prefix in prefixes:
            found = found or sorted(path.glob(f"{prefix}-*.npy"))
        expected = " or ".join(f"{prefix}-*.npy" for prefix in prefixes)
        hint = f"expected {expected}"
    elif not path.exists() and GLOB_MARKS & set(source):
        found, hint = sorted(map(Path, glob(source))), "no file fits this pattern"
    else:
        return [path]
    if not found:
        raise UserError("no .npy files here", where=source, hint=hint)
    return found


def _load(path: Path) -> Matrix:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            "this is no .npy file that can be read",
            where=str(path),
            seen=str(error),
            hint="expected one float matrix, as numpy.save writes it, without pickled objects",
        ) from error
    return float_matrix(matrix, str(path))


def float_matrix(matrix: object, where: str) -> Matrix:
    """The matrix as it is. Raises UserError when it is none, or holds no floats."""
    if not isinstance(matrix, np.ndarray):
        raise UserError("expected one matrix, saved by numpy.save", where=where)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise UserError("expected a matrix [rows, d]", where=where, seen=list(matrix.shape))
    if not np.issubdtype(matrix.dtype, np.floating):
        raise UserError(
            "expected float16 or float32",
            where=where,
            seen=str(matrix.dtype),
            hint="save it with .astype(np.float32)",
        )
    return matrix
