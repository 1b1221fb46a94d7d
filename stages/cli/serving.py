"""``adaptinf serve-check``: whether a server answers as a run's model was scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from stages.cli.guard import DEBUG


def check_server(
    url: Annotated[str, Argument(metavar="URL", help="As in http://localhost:8000/v1.")],
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    step: Annotated[
        int | None, Option(metavar="N", min=0, help="Whose answers; 0: base. [default: the last]")
    ] = None,
    model: Annotated[
        str | None, Option(metavar="NAME", help="To ask for. [default: the step's folder, or base]")
    ] = None,
    rows: Annotated[int, Option(metavar="N", min=1, help="Answers that are replayed.")] = 200,
    equal: Annotated[
        float, Option(metavar="PERCENT", min=0, max=100, help="Answers equal to the letter.")
    ] = 95.0,
    tolerance: Annotated[
        float, Option(metavar="POINTS", min=0, help="That the mean score may be off.")
    ] = 1.0,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Ask a server what a run was asked; status 1 where it answers otherwise."""
    from adaptinf.console import quiet_libraries
    from stages.scores import progress_line
    from stages.serving import Order, check_served, described

    quiet_libraries()
    order = Order(url, run, step, model, rows, equal, tolerance)
    parity = check_served(
        order, lambda name, size, done: progress_line(f"{name} asked", size, done)
    )
    print(described(parity))
    if not parity.holds:
        raise typer.Exit(1)
