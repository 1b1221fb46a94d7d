"""A thread beside the work that writes its heartbeat, and ends a run that comes no further."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from adaptinf.console.events import EventLog
from adaptinf.distributed import Ranks
from config import Recipe
from stages.failure import tell_failure
from stages.heartbeat import Beat, Pulse, birth, read_beat
from stages.logs import LOG

STALLED = 3
"""Exit status of a run that came no further."""

_INTERVAL = 5.0
_FIRST_WORD = 1.25
"""Ranks that do not lead are so much more patient: the leader knows of all."""


@dataclass(slots=True)
class Seen:
    """One rank as another sees it: seconds since it gave a sign of life, and since it moved.

    They are seconds of the watcher's life: clocks of two machines are never compared, and a
    process that was stopped for an hour does not wake up to find that all others stalled.
    """

    beat: Beat | None = None
    silent: float = 0.0
    idle: float = 0.0
    changed: bool = False

    def look(self, beat: Beat | None, seconds: float) -> None:
        """Take note of a rank's last beat, so many seconds after the look before."""
        before, self.beat = self.beat, beat or self.beat
        self.silent += seconds
        self.idle += seconds
        if beat is None:
            return
        if before is None or (beat.pid, beat.born) != (before.pid, before.born):
            self.silent = self.idle = 0.0
            return
        self.changed |= beat != before
        if beat.number != before.number:
            self.silent = 0.0
        if beat.moves != before.moves:
            self.idle = 0.0

    def has_stalled(self, patience: float) -> bool:
        """Whether nothing came of it for so long; what an earlier launch left never stalls."""
        if self.beat is None or self.beat.ended or not self.changed:
            return False
        works = self.beat.stage is not None and not self.beat.waits
        return self.silent >= patience or (works and self.idle >= patience)


def blamed(seen: Mapping[int, Seen], patience: float) -> tuple[int, Seen] | None:
    """The rank that a stalled run waits for, None as long as none has stalled.

    Where one hangs the others soon stand as well. So of those that give no sign of life the one
    that is silent for longest; if all do, the one with the fewest batches, then the most idle.
    """
    if not any(one.has_stalled(patience) for one in seen.values()):
        return None
    known = [(r, one) for r, one in seen.items() if one.beat and one.changed and not one.beat.ended]
    mute = [pair for pair in known if pair[1].silent >= patience / 2]
    if mute:
        return max(mute, key=lambda pair: pair[1].silent)
    busy = [pair for pair in known if pair[1].beat and not pair[1].beat.waits]
    return min(busy or known, key=lambda pair: (_batch(pair[1]), -pair[1].idle))


def _batch(seen: Seen) -> int:
    return seen.beat.batch if seen.beat else 0


@contextmanager
def watched(recipe: Recipe, ranks: Ranks) -> Iterator[Pulse]:
    """Inside, this rank's heartbeat is written, and a stall ends the process."""
    pulse = Pulse(recipe.output_dir, ranks)
    over = threading.Event()
    watch = _Watch(recipe, ranks, pulse, over)
    thread = threading.Thread(target=watch.run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield pulse
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            pulse.finish()


class _Watch:
    """What the thread does: tells how far this rank is, and looks how far the others are."""

    def __init__(self, recipe: Recipe, ranks: Ranks, pulse: Pulse, over: threading.Event) -> None:
        self._recipe = recipe
        self._run = recipe.output_dir
        self._ranks = ranks
        self._pulse = pulse
        self._over = over
        stall = recipe.watch.stall_after
        self._interval = _INTERVAL if stall is None else min(_INTERVAL, stall / 8)
        self._patience = None if stall is None else stall * (1 if ranks.leads else _FIRST_WORD)
        others = range(1, ranks.size) if ranks.leads else [0]
        self._seen = {rank: Seen() for rank in (ranks.rank, *others)}

    def run(self) -> None:
        """Until the work is over."""
        last = time.monotonic()
        while True:
            now = time.monotonic()
            # More than that has passed only where this process was stopped itself.
            self._look(min(now - last, 2 * self._interval))
            last = now
            if self._over.wait(self._interval):
                return

    def _look(self, seconds: float) -> None:
        own = self._pulse.beat()
        # A full disk is told by the work; the watch goes on.
        with suppress(OSError):
            self._pulse.write(own)
        for rank, seen in self._seen.items():
            beat = own if rank == self._ranks.rank else read_beat(self._run, rank)
            seen.look(beat, seconds)
        if self._patience is not None and (found := blamed(self._seen, self._patience)):
            self._end(*found)

    def _end(self, rank: int, seen: Seen) -> None:
        """Say who came no further and where, and end this process: its main thread may hang."""
        beat = seen.beat
        assert beat is not None, "only a rank that was seen is blamed"
        seconds = max(seen.silent, seen.idle)
        how = "gave no sign of life" if seen.silent >= self._interval * 3 else "came no further"
        told = (
            f"stalled: rank {rank} of {beat.size} (process {beat.pid} on {beat.host}) {how}"
            f" for {seconds:.0f} s: {beat.place}; the same command goes on from here"
        )
        try:
            # On the console whichever rank this is: the leader may be the one that hangs.
            print(told, file=sys.__stderr__, flush=True)
            LOG.error("%s", told)
            with suppress(OSError):
                EventLog(self._run / "events.jsonl").write(
                    "stalled",
                    {"rank": rank, "stage": beat.stage, "batch": beat.batch, "error": told},
                )
            tell_failure(self._recipe.on_failure, self._run, told, STALLED)
            if rank != self._ranks.rank and beat.host == platform.node() and _is(beat):
                # A stopped process would keep its launcher waiting, and its device.
                os.kill(beat.pid, signal.SIGKILL)
        finally:
            os._exit(STALLED)


def _is(beat: Beat) -> bool:
    """Whether the process of that number still is the one that gave the beat."""
    return beat.born != "" and birth(beat.pid) == beat.born
