"""Tensors and settings out of files that somebody else wrote; none of them is trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor

from adaptinf.errors import UserError
from adaptinf.files import read_object
from adaptinf.folders import is_plain_name

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_LISTED = 3
_CALLED = re.compile(r"GLOBAL ([\w.]+)")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors by name, of safetensors or of a ``.bin`` that torch has pickled.

    Of a pickle only what makes up tensors is read, so that it runs no code.

    Raises:
        UserError: it would run code, cannot be read, or holds anything but tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise what they like on broken bytes
        called = _CALLED.search(str(error)) if isinstance(error, UnpicklingError) else None
        if called is None:
            # Not what torch says of a pickle: it advises to run the code.
            told = "a pickle" if isinstance(error, UnpicklingError) else str(error)[:200]
            raise UserError("the file cannot be read", where=str(file), seen=told) from error
        raise UserError(
            "a pickle that wants to run code, which is refused",
            where=str(file),
            seen=called[1],
            hint="take it from its authors, as safetensors if they have it",
        ) from error
    named = isinstance(found, dict) and all(isinstance(key, str) for key in found)
    if not named or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError("not tensors by name", where=str(file), seen=type(found).__name__)
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint in one file or in several that an index names.

    Raises:
        UserError: there is none, or ``read_tensors`` raises.
    """
    for name in _WHOLE:
        if (folder / name).is_file():
            return read_tensors(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            places = read_object(index).get("weight_map")
            names = sorted(set(places.values())) if isinstance(places, dict) else [None]
            if not all(map(is_plain_name, names)):
                raise UserError("not the index of a checkpoint", where=str(index))
            return {k: v for part in names for k, v in read_tensors(folder / str(part)).items()}
    raise UserError(f"none of {', '.join(_WHOLE)} here", where=str(folder))


def holds_weights(folder: Path) -> bool:
    """Whether ``read_weights`` finds a checkpoint here."""
    return any(
        (folder / f"{name}{end}").is_file() for name in _WHOLE for end in ("", ".index.json")
    )


def require_same(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str, hint: str
) -> None:
    """That names and shapes are the same: none missing, none left over.

    Raises:
        UserError: they are not; it names the first of each.
    """
    missing = [key for key in expected if key not in found]
    over = [key for key in found if key not in expected]
    odd = [k for k in expected if k in found and expected[k].shape != found[k].shape]
    if missing or over or odd:
        told = [("missing", missing), ("unexpected", over), ("of another shape", odd)]
        raise UserError(
            "the tensors are not those of the model",
            where=where,
            seen="; ".join(f"{len(keys)} {what}{_some(keys)}" for what, keys in told),
            hint=hint,
        )


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:_LISTED])
    return f" ({shown}{', ...' if len(keys) > _LISTED else ''})" if keys else ""
