"""How far each process of a run has come, in ``ranks/N.json``, for others to read."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from adaptinf.distributed import Ranks
from stages.work import Progress, Work

FOLDER = "ranks"

_COMPUTES = 0.1
"""Share of a processor above which a process is taken to compute."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What one rank says of itself.

    ``moves`` counts all that brings it further; the thread that writes adds nothing to it.
    ``batch`` counts reports of progress in the stage, ``number`` beats. A rank that ``waits`` is
    at a meeting point. Times are seconds since 1970 by the rank's own clock; ``born`` tells its
    process from another of the same number.
    """

    rank: int
    size: int
    host: str
    pid: int
    born: str
    number: int
    time: float
    moves: int
    moved: float
    waits: bool
    ended: bool
    stage: str | None
    begun: float | None
    batch: int
    rows: int
    earlier: int
    rows_total: int | None

    @property
    def rate(self) -> float | None:
        """Rows per second that this try of the stage has done; None before the first."""
        if self.begun is None or self.rows <= self.earlier or self.moved <= self.begun:
            return None
        return (self.rows - self.earlier) / (self.moved - self.begun)

    @property
    def seconds_left(self) -> float | None:
        """Until the last row of the stage, None while that cannot be told."""
        if self.rows_total is None or not self.rate:
            return None
        return max(self.rows_total - self.rows, 0) / self.rate

    @property
    def place(self) -> str:
        """``2-mantis/train, batch 17, 68 of 132 rows``."""
        if self.stage is None:
            return "between stages"
        of = f" of {self.rows_total:,}" if self.rows_total is not None else ""
        return f"{self.stage}, batch {self.batch}, {self.rows:,}{of} rows"


def read_beat(run: Path, rank: int) -> Beat | None:
    """The last that a rank said; None where there is nothing, or nothing that can be read."""
    try:
        told = json.loads((run / FOLDER / f"{rank}.json").read_bytes())
        return Beat(**{field.name: told[field.name] for field in fields(Beat)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_beats(run: Path) -> list[Beat]:
    """The last that each rank of the latest launch said."""
    first = read_beat(run, 0)
    found = [read_beat(run, rank) for rank in range(first.size if first else 0)]
    return [beat for beat in found if beat]


def birth(pid: int) -> str:
    """When a process of this machine began, in the kernel's clock ticks; empty where unknown."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return told.rpartition(")")[2].split()[19]


class Pulse:
    """This process's state, changed by the thread that works and written by another.

    Where one process computes by itself, time of the processor is progress too: some stages tell
    of their rows only at the end, and one batch may be long. Where several do, or an accelerator
    does, it is not: who waits for those may spin.
    """

    def __init__(self, run: Path, ranks: Ranks) -> None:
        self._file = run / FOLDER / f"{ranks.rank}.json"
        self._ranks = ranks
        self._born = birth(os.getpid())
        self._stage: str | None = None
        self._computes = True
        self._begun: float | None = None
        self._moves = self._batch = self._rows = self._earlier = 0
        self._total: int | None = None
        self._ended = False
        # Those of the thread that writes.
        self._number = self._computed = 0
        self._known, self._moved = -1, time.time()
        self._clocks = (time.monotonic(), time.process_time())

    def begin(self, work: Work, progress: Progress) -> Progress:
        """A stage begins; what is told to the result goes on to ``progress``."""
        self._batch = self._rows = self._earlier = 0
        self._total, self._begun = work.rows, time.time()
        self._computes = not work.shared or (self._ranks.size == 1 and not _is_accelerated())
        self._stage = work.name
        self._moves += 1
        return _Counted(self, progress)

    def end(self) -> None:
        """The stage is over."""
        self._stage = self._begun = None
        self._moves += 1

    def total(self, rows: int, done: int) -> None:
        """Rows of the stage, and those done by an earlier try."""
        self._rows += done - self._earlier
        self._total, self._earlier = rows, done
        self._moves += 1

    def advance(self, rows: int) -> None:
        """A batch of so many rows is done."""
        self._batch += 1
        self._rows += rows
        self._moves += 1

    def note(self) -> None:
        """Something has happened."""
        self._moves += 1

    def beat(self) -> Beat:
        """What this rank has to say now; called by one thread alone."""
        now, (clock, spent) = time.time(), self._clocks
        self._clocks = time.monotonic(), time.process_time()
        alone = self._computes or self._stage is None
        if alone and self._clocks[1] - spent > _COMPUTES * (self._clocks[0] - clock):
            self._computed += 1
        moves = self._moves + self._computed + self._ranks.moves
        if moves != self._known:
            self._known, self._moved = moves, now
        self._number += 1
        return Beat(
            rank=self._ranks.rank,
            size=self._ranks.size,
            host=platform.node(),
            pid=os.getpid(),
            born=self._born,
            number=self._number,
            time=now,
            moves=moves,
            moved=self._moved,
            waits=self._ranks.waits,
            ended=self._ended,
            stage=self._stage,
            begun=self._begun,
            batch=self._batch,
            rows=self._rows,
            earlier=self._earlier,
            rows_total=self._total if self._stage else None,
        )

    def write(self, beat: Beat) -> None:
        """Put it where others look for it; they see the old or the new."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(beat)) + "\n")
        draft.replace(self._file)

    def finish(self) -> None:
        """The last beat: this rank ends of its own accord."""
        self._ended = True
        self._stage = self._begun = None
        self.write(self.beat())


def _is_accelerated() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.accelerator.is_available())


class _Counted:
    """Progress of which a pulse hears, too."""

    def __init__(self, pulse: Pulse, progress: Progress) -> None:
        self._pulse = pulse
        self._progress = progress

    def total(self, rows: int, done: int = 0) -> None:
        self._pulse.total(rows, done)
        self._progress.total(rows, done)

    def advance(self, rows: int) -> None:
        self._pulse.advance(rows)
        self._progress.advance(rows)

    def note(self, text: str) -> None:
        self._pulse.note()
        self._progress.note(text)
