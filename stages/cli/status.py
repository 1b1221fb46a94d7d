"""``adaptinf status``: how far a run is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.guard import DEBUG


def show_status(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Say how far a run is: stage, rows, rate, time left, signs of life, disk, the last error.

    Reads the run's files alone, while a process is at work in it or after.
    """
    from stages.status import run_status

    status = run_status(run)
    print(status.json() if json else status.text())
