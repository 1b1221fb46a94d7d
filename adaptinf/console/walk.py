"""The console of a run: leads through its stages, tells people one line and programs an event."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from adaptinf.console.display import Display, PlainDisplay, SilentDisplay
from adaptinf.console.events import EventLog
from adaptinf.console.progress import RunProgress, StageProgress
from adaptinf.console.text import count_text, duration_text, rate_text

_EVENT_INTERVAL = 10.0


@dataclass(slots=True)
class Console:
    """Shows the walk on a display and records it in an event log, if there is one."""

    _display: Display
    _log: EventLog | None
    _clock: Callable[[], float] = time.monotonic
    _run: RunProgress | None = None
    _shown: float = 0.0
    _told: float = 0.0

    def run_started(self, total_units: float, done_units: float = 0.0) -> None:
        """Begin the run's clock; ``done_units`` of the work were found done and take no time."""
        self._run = RunProgress(self._clock(), total_units - done_units)
        self.event("run_started", total_units=total_units, done_units=done_units)

    @contextmanager
    def stage(
        self, *, task: str, index: int, total: int, stage: str, units: float = 1.0
    ) -> Iterator[StageProgress]:
        """Lead through one stage of task ``index`` of ``total``, worth so many units of the run."""
        where = {"task": task, "index": index, "total": total, "stage": stage}
        self._shown = self._told = started = self._clock()
        progress = StageProgress(
            name=f"task {index}/{total} {task} | {stage}",
            started=started,
            changed=lambda: self._changed(progress, units, where),
        )
        self.event("stage_started", **where)
        self._display.begin(progress.name)
        try:
            yield progress
        except BaseException as error:
            seconds = self._clock() - started
            self._display.end(f"{progress.name} | stopped after {duration_text(seconds)}")
            self.event(
                "stage_failed", **where, seconds=round(seconds, 3), error=type(error).__name__
            )
            raise
        now = self._clock()
        if self._run:
            self._run.left -= units
            self._run.worked += units * (progress.share_worked if progress.rows_total else 1.0)
        self._display.end(self._last_line(progress, now))
        seconds, run_left = round(now - started, 3), self._run_left(now)
        self.event("stage_finished", **where, seconds=seconds, rows=progress.rows, **run_left)

    def line(self, text: str) -> None:
        """Show text besides the walk, such as a table."""
        self._display.write(text)

    def event(self, kind: str, **fields: Any) -> None:
        """Record an event of that kind."""
        if self._log:
            self._log.write(kind, fields)

    def _changed(self, progress: StageProgress, units: float, where: dict[str, Any]) -> None:
        """Show and record the progress, but not more often than is of use."""
        now = self._clock()
        if now - self._shown >= self._display.interval:
            self._shown = now
            self._display.update(self._present_line(progress, units, now), progress.share)
        if now - self._told >= _EVENT_INTERVAL:
            self._told = now
            rows, run_left = progress.rows, self._run_left(now, progress, units)
            self.event("progress", **where, rows=rows, rows_total=progress.rows_total, **run_left)

    def _run_left(
        self, now: float, progress: StageProgress | None = None, units: float = 0.0
    ) -> dict[str, float]:
        """``run_left`` in seconds, nothing where it cannot be told; of a stage if in one."""
        if self._run is None:
            return {}
        share, worked = (progress.share or 0.0, progress.share_worked) if progress else (0.0, 0.0)
        left = self._run.seconds_left(now, units * share, units * worked)
        return {} if left is None else {"run_left": round(left, 1)}

    def _present_line(self, progress: StageProgress, units: float, now: float) -> str:
        stage_left = progress.seconds_left(now)
        run_left = self._run_left(now, progress, units).get("run_left")
        left = [] if stage_left is None else [f"stage {duration_text(stage_left)}"]
        left += [] if run_left is None else [f"run {duration_text(run_left)}"]
        parts = [*_parts(progress, now), *left]
        return " | ".join(parts) + (" left" if left else "")

    def _last_line(self, progress: StageProgress, now: float) -> str:
        run_left = self._run.seconds_left(now) if self._run else None
        left = [] if run_left is None else [f"run {duration_text(run_left)} left"]
        took = duration_text(now - progress.started)
        return " | ".join([*_parts(progress, now), f"took {took}", *left])


def make_console(
    events_path: Path | None,
    stream: TextIO | None = None,
    tty: bool | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Console:
    """A console for ``stream`` (standard error by default).

    A live line on a terminal, plain lines elsewhere, with NO_COLOR and with TERM=dumb. Of several
    processes (RANK) only the first speaks and records. ``tty`` overrules what the stream says.
    """
    if os.environ.get("RANK", "0") != "0":
        return Console(SilentDisplay(), None, clock)
    stream = stream or sys.stderr
    terminal = stream.isatty() if tty is None else tty
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    log = EventLog(events_path) if events_path else None
    display = _live(stream) if terminal and not plain else PlainDisplay(stream)
    return Console(display, log, clock)


def _live(stream: TextIO) -> Display:
    import rich.console  # only a terminal is worth the time that this takes

    from adaptinf.console.live import LiveDisplay

    return LiveDisplay(rich.console.Console(file=stream, force_terminal=True))


def _parts(progress: StageProgress, now: float) -> list[str]:
    """Name, rows, rate and note of a stage, as far as there are any."""
    parts = [progress.name]
    if progress.rows_total is not None and progress.rows < progress.rows_total:
        parts.append(f"{count_text(progress.rows)}/{count_text(progress.rows_total)} rows")
    elif progress.rows:
        parts.append(f"{count_text(progress.rows)} rows")
    if rate := progress.rate(now):
        parts.append(rate_text(rate))
    if progress.remark:
        parts.append(progress.remark)
    return parts
