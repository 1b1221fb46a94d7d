"""Downloads as a person sees them: the plan, the progress, and what is left to do by hand."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from adaptinf.data import download as parts
from adaptinf.data.benchmark_catalogue import BENCHMARK_CATALOGUE
from adaptinf.data.catalogue import CATALOGUE, Entry
from adaptinf.data.download import Downloads, Plan
from adaptinf.data.ingest import ingest
from adaptinf.data.names import DATASETS
from adaptinf.data.pool import PoolBuilder
from adaptinf.data.source import count_rows, find_source
from adaptinf.errors import UserError
from adaptinf.scoring.benchmarks import BENCHMARKS

_ROWS_READ = 200


def download(
    root: Path,
    names: Sequence[str],
    *,
    benchmarks: bool = False,
    limit: int | None = None,
    dry_run: bool = False,
) -> None:
    """Plan, tell, and get datasets, or the images of their first rows.

    Raises:
        UserError: one cannot be had.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, disable=not sys.stdout.isatty())
    with httpx2.Client(follow_redirects=True, timeout=60) as client:
        catalogue = catalogue_of(benchmarks)
        downloads = Downloads(root, client, _Bars(shown), HfApi(), catalogue)
        plans = [downloads.plan(name, limit) for name in names]
        for plan in plans:
            print(*described(plan, limit), sep="\n")
        if dry_run:
            return
        with shown:
            downloads.get(plans, limit)
    left = [plan for plan in plans if plan.by_hand]
    for plan in plans:
        print(f"{plan.name}: {'left to do by hand, see above' if plan in left else plan.folder}")


def catalogue_of(benchmarks: bool) -> Mapping[str, Entry]:
    """The datasets to learn from, or the benchmarks."""
    return BENCHMARK_CATALOGUE if benchmarks else CATALOGUE


def check(root: Path, names: Sequence[str], *, benchmarks: bool = False) -> None:
    """Say of each dataset whether all is there.

    Raises:
        UserError: something is missing or changed.
    """
    errors = []
    for name in names:
        lines = parts.check(root, name, catalogue_of(benchmarks))
        errors += [UserError(line) for line in lines]
        print(f"{name}: {'complete' if not lines else f'{len(lines)} wrong'}")
        if name in DATASETS and not benchmarks and not lines:
            print(f"  {_reading(root, name)}")
        elif name in BENCHMARKS and benchmarks and not lines:
            print(f"  {len(BENCHMARKS[name].read(root / name)):,} questions")
    if errors:
        raise UserError.group(errors)


def _reading(root: Path, name: str) -> str:
    """What the reader makes of a dataset's first rows.

    Raises:
        UserError: not one of them can be used.
    """
    with tempfile.TemporaryDirectory() as scratch:
        media = Path(scratch)
        source = find_source(name, root=root, media=media, recipe_dir=root)
        builder = PoolBuilder(lambda table: None)
        found = ingest(source, builder, None, 1, media, limit=_ROWS_READ).counts
        total = count_rows(source, media)
    problems = "".join(f", {count} {reason}" for reason, count in found.dropped.items())
    return f"{total:,} rows; of the first {found.rows_in:,}: {found.kept:,} usable{problems}"


def described(plan: Plan, limit: int | None = None) -> list[str]:
    """A plan in lines."""
    lines = [f"{plan.name}: {plan.entry.page}", f"  licence: {plan.entry.licence}"]
    for job in plan.jobs:
        some = "some of " if limit is not None and job.piece.images else ""
        lines.append(f"  {_bytes(job.remote.size):>10}  {some}{job.remote.url}")
    if plan.jobs and limit is None:
        lines.append(f"  {_bytes(plan.size):>10}  to come; archives need as much again for a time")
    elif plan.jobs:
        lines.append(f"  of images come those of the first {limit:,} rows; read it with that limit")
    if plan.here:
        lines.append(f"  {plan.here} pieces are here already")
    if plan.by_hand:
        lines.append(f"  by hand: {plan.by_hand}")
    return lines


def _bytes(size: int | None) -> str:
    if size is None:
        return "?"
    for unit, most in (("kB", 1e6), ("MB", 1e9)):
        if size < most:
            return f"{size / most * 1e3:.1f} {unit}"
    return f"{size / 1e9:.1f} GB"


@dataclass(slots=True)
class _Bars:
    """A bar per file; where nobody looks, a line per file."""

    shown: Progress
    _task: TaskID | None = None

    def begin(self, name: str, size: int | None) -> None:
        if self.shown.disable:
            print(name, flush=True)
        self._task = self.shown.add_task(name, total=size)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self.shown.advance(self._task, count)
