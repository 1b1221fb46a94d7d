"""``adaptinf status``: how far a run is, from its files alone."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from adaptinf.console.text import count_text, duration_text, rate_text
from adaptinf.errors import UserError
from stages.heartbeat import Beat, read_beats
from stages.lock import is_locked
from stages.seals import are_sealed

_TAIL = 1 << 18
"""Bytes at the end of ``events.jsonl`` that are read."""

_FOREIGN = ("world", "media", "pictures")
"""Folders of images, which may be very many."""

_ERRORS = ("run_failed", "stalled")


@dataclass(frozen=True, slots=True)
class Status:
    """A run at one moment; ``None`` is what nobody knows. Times are seconds, sizes bytes.

    ``state`` is ``at work``, ``finished``, ``failed`` or ``stopped``. ``left`` is the estimate of
    the whole run's remaining time, ``disk_used`` without images.
    """

    run: str
    state: str
    locked: bool
    stage: str | None
    rows: int | None
    rows_total: int | None
    rate: float | None
    stage_left: float | None
    left: float | None
    stages_done: int
    beats: tuple[Beat, ...]
    disk_used: int
    disk_free: int
    last_error: str | None
    last_error_at: str | None
    asked_at: float

    def json(self) -> str:
        """For programs."""
        told = asdict(self)
        told["ranks"] = [
            {**asdict(beat), "silent": round(self.asked_at - beat.time, 1)} for beat in self.beats
        ]
        del told["beats"]
        return json.dumps(told, indent=1)

    def text(self) -> str:
        """For people, in a few lines."""
        lines = [f"{self.run}: {self.state}, {count_text(self.stages_done)} stages done"]
        if self.stage:
            lines.append(self._progress())
        if self.left is not None:
            lines.append(f"the whole run: about {duration_text(self.left)} left")
        for beat in self.beats if self.locked else ():
            ago = duration_text(max(self.asked_at - beat.time, 0))
            moved = duration_text(max(beat.time - beat.moved, 0))
            does = "waits for others" if beat.waits else f"last progress {moved} before"
            who = f"rank {beat.rank} ({beat.host}, process {beat.pid})"
            lines.append(f"{who}: last sign of life {ago} ago, {does}")
        used, free = (f"{size / 1e9:,.2f} GB" for size in (self.disk_used, self.disk_free))
        lines.append(f"disk: {used} used without images, {free} free")
        if self.last_error:
            lines.append(f"last error, {self.last_error_at}: {self.last_error}")
        return "\n".join(lines)

    def _progress(self) -> str:
        rows = count_text(self.rows or 0)
        if self.rows_total is not None:
            rows += f"/{count_text(self.rows_total)}"
        parts = [self.stage or "", f"{rows} rows"]
        if self.rate:
            parts.append(rate_text(self.rate))
        if self.stage_left is not None:
            parts.append(f"stage {duration_text(self.stage_left)} left")
        return " | ".join(parts)


def run_status(run: Path) -> Status:
    """How far a run is, whether a process is at work in it or not.

    Raises:
        UserError: no run.
    """
    if not (run / "steps").is_dir() and not (run / "events.jsonl").is_file():
        hint = "give the output_dir of a run that has begun"
        raise UserError("no run here", where=str(run), hint=hint)
    locked, events, beats = is_locked(run), _events(run / "events.jsonl"), read_beats(run)
    leader = beats[0] if beats else None
    # What stands there after the process has gone tells where it went.
    there = leader if leader and leader.stage and (locked or not leader.ended) else None
    turns = [e for e in events if e.get("kind") in ("run_started", *_ERRORS)]
    last = str(turns[-1].get("kind")) if turns else ""
    error = next((e for e in reversed(turns) if e.get("kind") in _ERRORS), None)
    return Status(
        run=str(run),
        state=_state(run, locked, last),
        locked=locked,
        stage=there.stage if there else None,
        rows=there.rows if there else None,
        rows_total=there.rows_total if there else None,
        rate=there.rate if there and locked else None,
        stage_left=there.seconds_left if there and locked else None,
        left=_left(events) if locked else None,
        stages_done=sum(1 for _ in (run / "steps").glob("*/**/DONE")),
        beats=tuple(beats),
        disk_used=_size(run),
        disk_free=shutil.disk_usage(run).free,
        last_error=str(error.get("error")) if error else None,
        last_error_at=str(error.get("time")) if error else None,
        asked_at=time.time(),
    )


def _state(run: Path, locked: bool, last: str) -> str:
    if locked:
        return "at work"
    if are_sealed(run):
        return "finished"
    return "failed" if last in _ERRORS else "stopped"


def _left(events: list[dict[str, Any]]) -> float | None:
    """Seconds that the run still takes: as told last, less what has passed since."""
    told = next((e for e in reversed(events) if e.get("run_left") is not None), None)
    if told is None:
        return None
    try:
        since = time.time() - datetime.fromisoformat(told["time"]).timestamp()
        return max(float(told["run_left"]) - since, 0.0)
    except (KeyError, TypeError, ValueError):
        return None


def _events(file: Path) -> list[dict[str, Any]]:
    """The last events; a line that is cut off or damaged is passed over."""
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _TAIL))
        lines = stream.read().splitlines()
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _size(run: Path) -> int:
    """Bytes of the run's own files; what vanishes while it is looked for counts for nothing."""
    total, folders = 0, [str(run)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _FOREIGN:
                            folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
