"""``adaptinf withdraw``: a run as if it had never seen a dataset, or some of its rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from adaptinf.notice import Notice
from stages.cli.guard import DEBUG, RESUMES


def withdraw_data(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Withdraw a whole dataset, by its task.")
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(metavar="UID|FILE", help="Withdraw rows; several, or a file of uids."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which steps are touched; change nothing.")
    ] = False,
    remove_only: Annotated[
        bool,
        typer.Option("--remove-only", help="Remove what came of it; run-lifelong does the rest."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Make a run as if it had never seen a dataset or rows: make anew what they touched.

    What was withdrawn stays away from this run, whatever recipe it is started with. In a terminal
    it asks before it removes anything.
    """
    from adaptinf.console import make_console, quiet_libraries
    from adaptinf.errors import UserError
    from stages.withdrawn import checked, uids_in

    if (dataset is None) == (not rows):
        raise UserError("nothing to withdraw", hint="give either --dataset NAME or --rows UID|FILE")
    uids: list[str] = []
    for given in rows or ():
        uids += uids_in(Path(given)) if Path(given).is_file() else [checked(given, "--rows")]
    quiet_libraries()
    from stages.withdraw import plan_withdrawal

    plan = plan_withdrawal(run, dataset, uids)
    print(plan.text())
    plan.check()
    if dry_run:
        return
    if plan.steps and not yes and sys.stdin.isatty():
        typer.confirm("Remove these results, and make them anew?", abort=True)
    with Notice().listening(RESUMES) as notice:
        from stages.manager import run_lifelong

        console = make_console(run / "events.jsonl")
        plan.carry_out(console)
        if remove_only:
            print("removed; run-lifelong with the run's recipe makes the rest anew")
            return
        finished = run_lifelong(plan.rest, console, notice=notice)
    print(finished.table)
    print(f"report: {finished.report.resolve()}")
