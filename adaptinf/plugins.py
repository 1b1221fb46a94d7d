"""Functions that users bring in Python files of their own, named as ``file.py:function``."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError

_NAMED = re.compile(r"(?P<file>.+\.py):(?P<function>\w+)")


def plugin_file(name: str, folders: list[Path]) -> Path | None:
    """The file that a name speaks of, in the first folder that has it; None for any other name.

    Raises:
        UserError: no folder has it.
    """
    found = _NAMED.fullmatch(name)
    if found is None:
        return None
    for folder in folders:
        if (folder / found["file"]).is_file():
            return folder / found["file"]
    places = " or ".join(str(folder) for folder in dict.fromkeys(folders))
    raise UserError("no such file", seen=name, hint=f"looked in {places}")


def load_function(file: Path, name: str) -> Callable[..., Any]:
    """The function of ``file.py:function``, out of that file. Runs the file.

    Raises:
        UserError: the file fails, or has no such function.
    """
    function = name.rpartition(":")[2]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UserError("not a Python file", where=str(file))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        what = f"the file fails: {type(error).__name__}: {error}"
        raise UserError(what, where=str(file)) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"no function {function!r} here", where=str(file))
    loaded: Callable[..., Any] = found
    return loaded
