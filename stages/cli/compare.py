"""``adaptinf compare``: two runs, question by question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from stages.cli.guard import DEBUG


def compare_two(
    first: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    second: Annotated[Path, Argument(metavar="RUN", help="Another one.")],
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Say what the second run does better or worse than the first, and how sure that is."""
    from stages.compare import compared

    print(compared(first, second))
