"""``forgetting-report``: the report of a run, anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.guard import DEBUG


def forgetting_report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
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
    """Write the forgetting report of a run and print its table; of several, one page about all.

    With --check exit with 1, and name the benchmarks, where one has lost more than the tolerance
    from the step that taught it to the last, and not by chance.
    """
    from adaptinf.report import write_report
    from stages.gate import check_losses
    from stages.reports import tables_of, write_run_report

    print(tables_of(runs))
    if len(runs) == 1:
        page = write_report(runs[0], out) if out else write_run_report(runs[0])
    else:
        from adaptinf.report.many import write_comparison

        page = write_comparison(runs, out or Path("comparison.html"))
    print(f"report: {page.resolve()}")
    failed = False
    for run in runs if check else ():
        told, passed = check_losses(run, tolerance)
        print(f"\n{run}\n{told}" if len(runs) > 1 else f"\n{told}")
        failed = failed or not passed
    if failed:
        raise typer.Exit(1)
