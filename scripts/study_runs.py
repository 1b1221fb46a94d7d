"""The runs of the study: each made once, whatever stops it, with what it shares with others."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adaptinf.console import make_console
from adaptinf.data.world import build_world
from adaptinf.notice import Notice
from config import Recipe, load_recipe
from stages.manager import open_context, run_lifelong
from stages.seals import are_sealed
from stages.sharing import share_stages
from study_plan import BASE, WORLDS, Cell, Plan, world_folder


def make_all(
    plan: Plan, cells: Sequence[Cell], runs: Path, notice: Notice, *, share: bool = True
) -> list[str]:
    """Make those runs that are not there yet and that no other process makes; who failed.

    The same again goes on; several processes may do it side by side.
    """
    failed = []
    for number, cell in enumerate(cells, 1):
        if are_sealed(runs / cell.name):
            continue
        with claimed(runs / cell.name) as mine:
            if not mine or are_sealed(runs / cell.name):
                continue
            started = time.monotonic()
            try:
                shared = make(plan, cell, runs, notice, share=share)
            except Exception:
                traceback.print_exc()
                failed.append(cell.name)
                continue
            spent = time.monotonic() - started
            told = f"{cell.name}: {spent:.0f} s, {shared} stages shared"
            print(f"{time.strftime('%H:%M:%S')} {number} of {len(cells)}: {told}", flush=True)
    return failed


def make(plan: Plan, cell: Cell, runs: Path, notice: Notice, *, share: bool = True) -> int:
    """Make one run or go on with it; how many stages came from others of its setting and seed."""
    make_world(runs, plan.world_of(cell), cell.seed)
    recipe, shared = load_recipe(BASE, plan.overrides(cell, runs)), 0
    if share:
        shared = share_stages(open_context(recipe), siblings(recipe, cell))
    with (recipe.output_dir / "log.txt").open("a") as log:
        run_lifelong(recipe, make_console(recipe.output_dir / "events.jsonl", log), notice=notice)
    return shared


def siblings(recipe: Recipe, cell: Cell) -> list[Path]:
    """Runs of the same setting and seed, which began with the same model and data."""
    found = recipe.output_dir.parent.glob(f"*-{cell.seed}")
    return sorted(folder for folder in found if folder != recipe.output_dir)


def make_world(runs: Path, world: str, seed: int) -> Path:
    """Write a world unless it is there; of two processes that do so one is too late."""
    folder = world_folder(runs, world, seed)
    if not folder.is_dir():
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        build_world(draft, seed, WORLDS[world])
        try:
            draft.rename(folder)
        except OSError:
            shutil.rmtree(draft)
            if not folder.is_dir():
                raise
    return folder


@contextmanager
def claimed(run: Path) -> Iterator[bool]:
    """Whether the run is this process's to make, for as long as it is inside."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
