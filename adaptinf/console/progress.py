"""How far a stage and a run have come, how fast they go, and how long they still take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class StageProgress:
    """Rows done in one stage, out of how many, since when.

    The rate is the mean since the stage began; the time left assumes that it stays so.
    """

    name: str
    started: float
    changed: Callable[[], None]
    rows: int = 0
    earlier: int = 0
    rows_total: int | None = None
    remark: str = ""

    def advance(self, rows: int) -> None:
        """Count so many more rows as done."""
        self.rows += rows
        self.changed()

    def total(self, rows: int, done: int = 0) -> None:
        """Set how many rows the stage has; ``done`` of them come from an interrupted run."""
        self.rows += done - self.earlier
        self.rows_total, self.earlier = rows, done
        self.changed()

    def note(self, text: str) -> None:
        """Show a short text in the line, in place of the note before."""
        self.remark = text
        self.changed()

    @property
    def share(self) -> float | None:
        """Part of the rows that is done, None where their number is unknown."""
        return min(self.rows / self.rows_total, 1.0) if self.rows_total else None

    @property
    def share_worked(self) -> float:
        """Part of the rows that this process has done, 0 where their number is unknown."""
        return (self.rows - self.earlier) / self.rows_total if self.rows_total else 0.0

    def rate(self, now: float) -> float | None:
        """Rows per second, None before the first row."""
        worked, seconds = self.rows - self.earlier, now - self.started
        return worked / seconds if worked > 0 and seconds > 0 else None

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last row, None while that cannot be told."""
        rate = self.rate(now)
        if self.rows_total is None or rate is None:
            return None
        return max(self.rows_total - self.rows, 0) / rate


@dataclass(slots=True)
class RunProgress:
    """Units of work that a run still has, and those that this process has done since it began.

    What a unit is, the caller decides: a stage, or the seconds that a stage was estimated at.
    """

    started: float
    left: float
    worked: float = 0.0

    def seconds_left(self, now: float, ahead: float = 0.0, worked: float = 0.0) -> float | None:
        """Units left times the seconds that a unit took so far; None before any work is done.

        Of the present stage, ``ahead`` units are behind us, and ``worked`` of them done just now.
        """
        left, done = self.left - ahead, self.worked + worked
        return left * (now - self.started) / done if left > 0 and done > 0 else None
