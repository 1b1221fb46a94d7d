"""The recipe that a run folder keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adaptinf.errors import UserError
from config import Recipe, load_recipe


def recipe_of(run: Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe that a run was last started with, ``settings`` (``key=value``) laid over it.

    Relative paths in it start from where its file was, if that folder is still there.

    Raises:
        UserError: there is none, or it does not hold.
    """
    file = run / "config.resolved.yaml"
    if not file.is_file():
        raise UserError("no run here", where=str(run), hint="give the output_dir of a run")
    recipe = load_recipe(file, [f"output_dir={run}", *settings])
    try:
        told = json.loads((run / "environment.json").read_bytes()).get("recipe_dir")
    except (OSError, ValueError, AttributeError):
        told = None
    if isinstance(told, str) and Path(told).is_dir():
        recipe._recipe_dir = Path(told)
    return recipe
