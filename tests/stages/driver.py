"""Runs a recipe in a process of its own and may kill that process in the middle of a stage.

``python driver.py RECIPE [--kill STEP/STAGE:CALLS] [key=value ...]``: SIGKILL when the stage has
reported progress so many times.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class KillingProgress:
    calls_left: int | None

    def total(self, rows: int, done: int = 0) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def advance(self, rows: int) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class KillingConsole:
    where: str = ""
    calls: int = 0

    def run_started(self, total_units: float, done_units: float = 0.0) -> None:
        pass

    @contextmanager
    def stage(
        self, *, task: str, index: int, total: int, stage: str, units: float = 1.0
    ) -> Iterator[KillingProgress]:
        yield KillingProgress(self.calls if self.where == f"{index}/{stage}" else None)

    def line(self, text: str) -> None:
        print(text)

    def event(self, kind: str, **fields: object) -> None:
        pass


def main() -> None:
    from adaptinf.console import quiet_libraries
    from adaptinf.distributed import Ranks
    from config import load_recipe
    from stages.manager import follow, run_lifelong

    quiet_libraries()
    recipe, *rest = sys.argv[1:]
    console = KillingConsole()
    if rest[:1] == ["--kill"]:
        console.where, calls = rest[1].rsplit(":", 1)
        console.calls = int(calls)
        rest = rest[2:]
    if not Ranks.of_launch().leads:
        follow(load_recipe(recipe, rest))
        return
    print(run_lifelong(load_recipe(recipe, rest), console).performed)


if __name__ == "__main__":
    main()
