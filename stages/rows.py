"""The rows that a step of a run chose, for use elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.data.exports import export_rows
from adaptinf.data.pool import PoolTable, stream_pool
from adaptinf.data.sample import Sample
from adaptinf.errors import UserError, suggestion
from stages.context import step_number


def export_step(run: Path, step: str | None, form: str, out: Path) -> tuple[Path, int]:
    """Write what ``step`` selected, of the last step where None; the file and its rows.

    Raises:
        UserError: no such run or step, or see ``export_rows``.
    """
    folder = _step_folder(run, step)
    chosen = pq.read_table(folder / "select" / "selection.parquet", columns=["uid"])
    uids = set(chosen["uid"].to_pylist())
    roots = json.loads((run / "environment.json").read_text())["image_roots"]
    samples = _samples(folder / "ingest" / "pool.parquet", uids)
    file = export_rows(samples, form, out, lambda dataset: Path(roots[dataset]))
    return file, len(uids)


def _step_folder(run: Path, step: str | None) -> Path:
    written = run.glob("steps/*/select/DONE")
    found = sorted(written, key=lambda done: step_number(done.parents[1].name))
    steps = {file.parent.parent.name: file.parent.parent for file in found}
    if not steps:
        raise UserError("no step has selected rows here", where=str(run), hint="give a run folder")
    if step is None:
        return steps[found[-1].parent.parent.name]
    for name, folder in steps.items():
        if step in (name, name.split("-", 1)[0], name.split("-", 1)[1]):
            return folder
    raise UserError("no such step", where=str(run), seen=step, hint=suggestion(step, steps))


def _samples(pool: Path, uids: set[str]) -> Iterator[Sample]:
    for table in stream_pool(pool):
        at = [place for place, uid in enumerate(table["uid"].to_pylist()) if uid in uids]
        if at:
            yield from PoolTable(table).samples(at)
