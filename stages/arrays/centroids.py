"""Centroids that a selection leaves for the next one, as .npy or .safetensors."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaptinf.errors import UserError
from selection.pool import Matrix
from stages.arrays.matrices import float_matrix, read_matrix

NAME = "centroids"
SUFFIXES = (".npy", ".safetensors")


def read_centroids(path: Path) -> Matrix:
    """The matrix [k, d] of the file; of several tensors the one named ``centroids``.

    Raises UserError when there is no such file, tensor or matrix of floats.
    """
    if path.suffix != ".safetensors":
        return read_matrix(str(path), ()).matrix
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except (OSError, SafetensorError) as error:
        raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error
    if len(tensors) != 1 and NAME not in tensors:
        raise UserError(f"no tensor {NAME!r} here", where=str(path), seen=sorted(tensors))
    matrix = tensors.get(NAME)
    return float_matrix(next(iter(tensors.values())) if matrix is None else matrix, str(path))


def centroid_bytes(centroids: NDArray[np.float32], suffix: str) -> bytes:
    """The content of a file of that suffix with these centroids [k, d]."""
    if suffix == ".safetensors":
        from safetensors.numpy import save

        return bytes(save({NAME: np.ascontiguousarray(centroids)}))
    stream = BytesIO()
    np.save(stream, centroids, allow_pickle=False)
    return stream.getvalue()
