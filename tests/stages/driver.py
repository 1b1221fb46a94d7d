"""Runs a recipe in a process of its own and may end that process in the middle of a stage.

``python driver.py RECIPE [--kill WHERE:CALLS | --term WHERE:CALLS | --kill-after WHERE:SECONDS]
[key=value ...]``, WHERE being STEP/STAGE: SIGKILL or SIGTERM when the stage has reported progress
so many times, or SIGKILL at that moment after it has begun, wherever the process then is.
``--term-launch WHERE:CALLS``: SIGTERM to the launcher of the ranks.
``--freeze RANK@1-llava/train:CALLS``, ``--hang`` or ``--fail``: see ``freeze``.
``python driver.py --serve``: see ``serve``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

HEAVY = (
    *("faiss", "peft", "transformers.trainer", "transformers.models.llava.modeling_llava"),
    *("adaptinf.adapters", "adaptinf.evaluation.generation", "adaptinf.features.extractor"),
    *("adaptinf.report", "adaptinf.training.trainer", "stages.manager"),
)
"""What a run imports, sooner or later."""


@dataclass
class EndingProgress:
    process: int
    number: int
    calls_left: int | None

    def total(self, rows: int, done: int = 0) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def advance(self, rows: int) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left == 0:
                os.kill(self.process, self.number)


@dataclass
class EndingConsole:
    where: str = ""
    number: int = signal.SIGKILL
    calls: int = 0
    seconds: float | None = None
    process: int = field(default_factory=os.getpid)

    def run_started(self, total_units: float, done_units: float = 0.0) -> None:
        pass

    @contextmanager
    def stage(
        self, *, task: str, index: int, total: int, stage: str, units: float = 1.0
    ) -> Iterator[EndingProgress]:
        here = self.where == f"{index}/{stage}"
        if here and self.seconds is not None:
            timer = threading.Timer(self.seconds, os.kill, [os.getpid(), self.number])
            timer.daemon = True
            timer.start()
        yield EndingProgress(self.process, self.number, self.calls if here and self.calls else None)

    def line(self, text: str) -> None:
        print(text)

    def event(self, kind: str, **fields: object) -> None:
        pass


def ending_console(option: str, value: str) -> EndingConsole:
    where, amount = value.rsplit(":", 1)
    if option == "--kill-after":
        return EndingConsole(where, seconds=float(amount))
    if option == "--term-launch":
        return EndingConsole(where, signal.SIGTERM, int(amount), process=os.getppid())
    number = {"--kill": signal.SIGKILL, "--term": signal.SIGTERM}[option]
    return EndingConsole(where, number, calls=int(amount))


def freeze(option: str, value: str) -> None:
    """``RANK@STEP/STAGE:CALLS``: that rank stops there (SIGSTOP), does nothing more, or fails."""
    from stages.work import Work

    rank, where = value.split("@")
    name, calls = where.rsplit(":", 1)
    run_folder = next(a for a in sys.argv if a.startswith("output_dir=")).partition("=")[2]
    reached = Path(f"{run_folder}.reached")
    wait_for(reached, mute=option == "--freeze")
    if rank != os.environ.get("RANK", "0"):
        return
    run = Work.run

    def frozen(work: Work, progress: object, ranks: object = None) -> dict:
        slow = FrozenProgress(progress, option, int(calls), reached, Path(run_folder), name)
        return run(work, slow, ranks)

    def chosen(work: Work, progress: object, ranks: object = None) -> dict:
        return (frozen if work.name == name else run)(work, progress, ranks)

    Work.run = chosen


def wait_for(reached: Path, *, mute: bool) -> None:
    """Nobody is blamed before that place is reached, and a rank mute there: a busy machine may have
    them all stand for as long."""
    from stages import watch

    blamed = watch.blamed

    def then(seen: dict, patience: float) -> object:
        silent = any(one.silent >= patience for one in seen.values())
        return blamed(seen, patience) if reached.exists() and (silent or not mute) else None

    watch.blamed = then


@dataclass
class FrozenProgress:
    told: object
    option: str
    calls_left: int
    reached: Path
    run: Path
    name: str

    def total(self, rows: int, done: int = 0) -> None:
        self.told.total(rows, done)

    def note(self, text: str) -> None:
        self.told.note(text)

    def wait_until_said(self) -> None:
        """Until the heartbeat has written where this process is, which it does twice a second."""
        beat = self.run / "ranks" / f"{os.environ.get('RANK', '0')}.json"
        while json.loads(beat.read_text())["stage"] != self.name:
            time.sleep(0.05)

    def advance(self, rows: int) -> None:
        self.told.advance(rows)
        self.calls_left -= 1
        if self.calls_left == 0:
            self.reached.touch()
        if self.calls_left == 0 and self.option == "--freeze":
            self.wait_until_said()
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.calls_left == 0 and self.option == "--hang":
            threading.Event().wait()
        elif self.calls_left == 0:
            print("said aside")
            warnings.warn("an odd thing", stacklevel=1)
            raise RuntimeError(f"no luck with {os.environ['HF_TOKEN']}")


def main() -> None:
    from adaptinf.console import quiet_libraries
    from adaptinf.distributed import Ranks
    from adaptinf.notice import Interrupted, Notice
    from config import load_recipe
    from stages.manager import follow, run_lifelong

    quiet_libraries()
    recipe, *rest = sys.argv[1:]
    console = EndingConsole()
    if rest and rest[0].startswith("--"):
        if rest[0] in ("--freeze", "--hang", "--fail"):
            freeze(*rest[:2])
        else:
            console = ending_console(*rest[:2])
        rest = rest[2:]
    with Notice().listening("out of patience") as notice:
        if not Ranks.of_launch().leads:
            follow(load_recipe(recipe, rest), notice)
            return
        try:
            print(run_lifelong(load_recipe(recipe, rest), console, notice=notice).performed)
        except Interrupted:
            print("interrupted")


def serve() -> None:
    """A driver for each line of standard input, forked from here, where all is imported already.

    A line is a JSON list of arguments, environment, and the files for what is printed; answered by
    the exit status. Nothing is computed in this process, so that a driver begins as any other.
    """
    from adaptinf.console import quiet_libraries

    quiet_libraries()
    for name in HEAVY:
        import_module(name)
    for line in iter(sys.stdin.readline, ""):
        arguments, environment, *printed = json.loads(line)
        child = os.fork()
        if child == 0:
            for number, name in enumerate((os.devnull, *printed)):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv[1:] = arguments
            main()
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
