"""``forgetting-report``: the report of a run, anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptinf.errors import UserError
from stages.cli.guard import DEBUG


def forgetting_report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it: .html, .md, .csv or .json."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail if a benchmark has lost more than --tolerance.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(metavar="POINTS", min=0.0, help="With --check: what may be lost.")
    ] = 1.0,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write the forgetting report of a run and print its table.

    With --check exit with 1, and name the benchmarks, where one has lost more than the tolerance
    from the step that taught it to the last, and not by chance.
    """
    from adaptinf.evaluation.matrix import AccuracyMatrix
    from adaptinf.report import write_report

    file = run / "matrix.json"
    if not file.is_file():
        raise UserError("no matrix.json here", where=str(run), hint="give the folder of a run")
    print(AccuracyMatrix.from_json(file.read_text()).table())
    print(f"report: {write_report(run, out).resolve()}")
    if check:
        from stages.gate import check_losses

        told, passed = check_losses(run, tolerance)
        print(f"\n{told}")
        if not passed:
            raise typer.Exit(1)
