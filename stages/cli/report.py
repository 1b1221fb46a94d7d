"""``forgetting-report``: the report of a run, anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptinf.errors import UserError
from stages.cli.guard import DEBUG


def forgetting_report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write the forgetting report of a run and print its table."""
    from adaptinf.evaluation.matrix import AccuracyMatrix
    from adaptinf.report import write_report

    file = run / "matrix.json"
    if not file.is_file():
        raise UserError("no matrix.json here", where=str(run), hint="give the folder of a run")
    print(AccuracyMatrix.from_json(file.read_text()).table())
    print(f"report: {write_report(run, out).resolve()}")
