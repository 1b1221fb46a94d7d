"""Finished stages that another run has made from the same inputs, taken over instead of made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from adaptinf.files import write_atomically
from adaptinf.folders import whole
from stages.context import Context
from stages.lock import locked
from stages.record import DONE, read_record
from stages.results import Bill
from stages.walk import plan_walk
from stages.work import Work


def share_stages(context: Context, siblings: Sequence[Path]) -> int:
    """Copy into a run what runs beside it have finished and it would make alike; how many stages.

    Alike are stages of the same place and fingerprint that read the same folders, so that the run
    ends with the bytes that it would have ended with. All that a step has of a stage comes from one
    sibling or not at all, and with it goes what ``cost.json`` there tells of it: the bill is that
    of a run that stands alone. A stage that is in the run's own bill is left to it.

    Raises:
        UserError: another process is at work in the run folder.
    """
    context.run.mkdir(parents=True, exist_ok=True)
    with locked(context.run):
        bill, shared = Bill(context.run / "cost.json"), 0
        for works in plan_walk(context):
            for stage, group in groupby(works.ordered, key=lambda work: work.stage):
                alike = list(group)
                begun = bill.cost_of(works.step.name, stage) is not None
                sibling = None if begun else _sibling(alike, context, siblings)
                if sibling is None:
                    continue
                if stage == "ingest":
                    _take_images(context.media(works.step.label), context, sibling)
                for work in alike:
                    _take(work, _twin(work, context, sibling))
                bill.take(works.step.name, stage, _cost(sibling, works.step.name, stage) or {})
                shared += len(alike)
        return shared


def _sibling(works: Sequence[Work], context: Context, siblings: Sequence[Path]) -> Path | None:
    """The first that has finished all of these alike."""
    for sibling in siblings:
        if _cost(sibling, works[0].step, works[0].stage) is None:
            continue
        if all(_is_alike(work, _twin(work, context, sibling)) for work in works):
            return sibling
    return None


def _twin(work: Work, context: Context, sibling: Path) -> Path:
    return sibling / work.folder.relative_to(context.run)


def _is_alike(work: Work, twin: Path) -> bool:
    """Made from the same inputs, and out of the same folders, which ``DONE`` tells as well."""
    record = read_record(twin)
    if record is None or record["fingerprint"] != work.fingerprint:
        return False
    read = {os.path.relpath(place, work.folder) for place in work.reads}
    return set(record.get("read", {})) == read


def _take_images(media: Path, context: Context, sibling: Path) -> None:
    """Those that came inside a task's annotations and were written out."""
    found = sibling / media.relative_to(context.run)
    if found.is_dir():
        shutil.copytree(found, media, dirs_exist_ok=True)


def _take(work: Work, twin: Path) -> None:
    """The finished folder, with ``DONE`` last; what a try that was killed has left goes."""
    shutil.rmtree(work.folder, ignore_errors=True)
    with whole(work.folder) as draft:
        shutil.copytree(twin, draft, ignore=shutil.ignore_patterns(DONE), dirs_exist_ok=True)
    write_atomically(work.folder / DONE, (twin / DONE).read_bytes())


def _cost(run: Path, step: str, stage: str) -> dict[str, Any] | None:
    """What a stage of a step has cost there, None where nothing is known."""
    try:
        return Bill(run / "cost.json").cost_of(step, stage)
    except (OSError, ValueError, KeyError):
        return None
