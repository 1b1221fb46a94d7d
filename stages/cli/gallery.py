"""``adaptinf gallery``: the rows that a run has selected, by cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG


def show_selection(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    out: Annotated[Path, Option(metavar="FILE", help="Where to write it; one HTML file.")] = Path(
        "gallery.html"
    ),
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write a page of what each step kept and left out, by cluster, with a map of the pool."""
    from adaptinf.report.atlas import write_atlas

    print(f"selection: {write_atlas(run, out).resolve()}")
