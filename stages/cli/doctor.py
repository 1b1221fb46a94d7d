"""``adaptinf doctor``: whether this machine can do what a recipe asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.guard import DEBUG


def examine_machine(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe (YAML); without one, the machine alone.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings, as in select.budget=5000.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Say whether this machine can do what a recipe asks, and what to do where it cannot.

    Ends with 0, or with 1 where something fails. Nothing is written into the run folder.
    """
    from adaptinf.console import quiet_libraries
    from config import load_recipe
    from stages.doctor.examination import examine

    settings = None if recipe is None else load_recipe(recipe, overrides or ())
    quiet_libraries()
    diagnosis = examine(settings)
    print(diagnosis.json() if json else diagnosis.text())
    if diagnosis.verdict == "fail":
        raise typer.Exit(1)
