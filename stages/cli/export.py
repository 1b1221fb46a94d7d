"""``adaptinf export``: the rows that a step chose, for other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG


def export_selection(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    out: Annotated[Path, Option(metavar="DIR", help="Where to write; must not be there yet.")],
    step: Annotated[
        str | None, Option(metavar="STEP", help="As in 2, shop or 2-shop. [default: the last]")
    ] = None,
    form: Annotated[
        str, Option("--as", metavar="FORM", help="llava, sharegpt or parquet.")
    ] = "llava",
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write the rows that a step selected, with their images: LLaVA's JSON, ShareGPT or Parquet."""
    from stages.rows import export_step

    file, rows = export_step(run, step, form, out)
    print(f"{rows:,} rows: {file.resolve()}")
