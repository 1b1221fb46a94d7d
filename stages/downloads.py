"""Downloads as a person sees them: the plan, the progress, and what is left to do by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
from adaptinf.data.download import Downloads, Plan
from adaptinf.errors import UserError


def download(root: Path, names: Sequence[str], *, dry_run: bool = False) -> None:
    """Plan, tell, and get datasets.

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
        downloads = Downloads(root, client, _Bars(shown), HfApi())
        plans = [downloads.plan(name) for name in names]
        for plan in plans:
            print(*described(plan), sep="\n")
        if dry_run:
            return
        with shown:
            for plan in plans:
                downloads.get(plan)
    left = [plan for plan in plans if plan.by_hand]
    for plan in plans:
        print(f"{plan.name}: {'left to do by hand, see above' if plan in left else plan.folder}")


def check(root: Path, names: Sequence[str]) -> None:
    """Say of each dataset whether all is there.

    Raises:
        UserError: something is missing or changed.
    """
    errors = []
    for name in names:
        lines = parts.check(root, name)
        errors += [UserError(line) for line in lines]
        print(f"{name}: {'complete' if not lines else f'{len(lines)} wrong'}")
    if errors:
        raise UserError.group(errors)


def described(plan: Plan) -> list[str]:
    """A plan in lines."""
    lines = [f"{plan.name}: {plan.entry.page}", f"  licence: {plan.entry.licence}"]
    for job in plan.jobs:
        lines.append(f"  {_bytes(job.remote.size):>10}  {job.remote.url}")
    if plan.jobs:
        lines.append(f"  {_bytes(plan.size):>10}  to come; archives need as much again for a time")
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
