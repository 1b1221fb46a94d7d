"""What an earlier try of a run has left: what of it stands, and what is put away."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from adaptinf.console import Console
from stages.aside import forget, set_aside
from stages.context import BASE, Context
from stages.integrity import Inspection, mark_unsound
from stages.record import DONE
from stages.seals import damaged_results, unseal_results
from stages.work import Work


def put_damaged_away(run: Path, console: Console) -> None:
    """Rename results at the top that are not as they were written; all are written again.

    What a finished stage has cost is not known a second time: costs then begin anew.
    """
    for name in damaged_results(run):
        console.line(f"{name} is damaged or missing; it is written again")
        with suppress(FileNotFoundError):
            (run / name).replace(run / f"{name}.damaged")
    unseal_results(run)


def pending_works(works: Sequence[Work], console: Console, *, fresh: bool) -> list[Work]:
    """The works still to do; with ``fresh`` those made with another recipe are thrown away.

    Damaged ones that these would read are among them.
    """

    def tell(work: Work, found: Inspection) -> None:
        files = [*found.damaged, *found.missing]
        console.line(f"{work.name}: made anew, damaged or missing: {', '.join(files)}")
        console.event("damaged", work=work.name, files=files)

    for work in works:
        if fresh and work.is_drifted():
            if work.stage in ("ingest", "glance", "featurize"):
                set_aside(work.folder)
            else:
                shutil.rmtree(work.folder)
    mark_unsound(works, tell)
    pending = [work for work in works if work.done() is None]
    for work in works:
        if work not in pending:
            forget(work.folder)
    return pending


def tell_strays(context: Context, console: Console) -> None:
    """Say which step folders belong to no step of the recipe; they are left alone."""
    expected = {BASE.name, *(step.name for step in context.steps)}
    for folder in sorted((context.run / "steps").glob("*-*")):
        if folder.name not in expected and any(folder.rglob(DONE)):
            console.line(f"steps/{folder.name} belongs to no task of this recipe; left as it is")
