"""The recipe that a run folder keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from config import Recipe, load_recipe
from stages.withdrawn import standing

_FILE = "config.resolved.yaml"


_BEFORE: Mapping[tuple[str, str], Any] = {("featurize", "max_rows"): None}
"""Defaults that releases before had, where they have changed."""


def for_its_run(recipe: Recipe, *, fresh: bool = False) -> Recipe:
    """The recipe as its run folder lets it stand: without what was withdrawn from there.

    A run keeps the defaults that it began with: what the recipe does not name is what it was, where
    a release has changed it since. With ``fresh`` it takes those of today.
    """
    return standing(recipe if fresh else _as_begun(recipe))


def _as_begun(recipe: Recipe) -> Recipe:
    try:
        begun = load_recipe(recipe.output_dir / _FILE)
    except UserError:  # none yet, or damaged, and then it is written anew
        return recipe
    for (section, name), before in _BEFORE.items():
        now = getattr(recipe, section)
        was = getattr(getattr(begun, section), name)
        if was == before and name not in now.model_fields_set:
            changed = now.model_copy(update={name: before})
            recipe = recipe.model_copy(update={section: changed})
    return recipe


def recipe_of(run: Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe that a run was last started with, ``settings`` (``key=value``) laid over it.

    Relative paths in it start from where its file was, if that folder is still there.

    Raises:
        UserError: there is none, or it does not hold.
    """
    file = run / _FILE
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
