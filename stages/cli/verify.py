"""``adaptinf verify``: is a run still what it wrote?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.guard import DEBUG


def verify_files(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    look_only: Annotated[
        bool, typer.Option("--look-only", help="Mark nothing; also works beside a run.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Hash every file of a run's finished stages, and name what is damaged, missing or surplus.

    Exit with 1 if anything is. A damaged stage is marked, and made anew by the next run.
    """
    from stages.verify import verify_run

    verdict = verify_run(run, look_only=look_only)
    print(verdict.json() if json else verdict.text())
    if not verdict.is_sound:
        raise typer.Exit(1)
