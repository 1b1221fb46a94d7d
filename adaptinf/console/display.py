"""How the line of the walk is shown where there is no terminal, and the shape of all displays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, TextIO

from adaptinf.console.text import printable


class Display(Protocol):
    """Shows one stage at a time; ``interval`` is the seconds between two updates of its line."""

    interval: ClassVar[float]

    def begin(self, line: str) -> None:
        """A stage has begun."""

    def update(self, line: str, share: float | None) -> None:
        """The stage has come to ``share`` of its rows, None if nobody knows how many there are."""

    def end(self, line: str) -> None:
        """The stage is over."""

    def write(self, text: str) -> None:
        """Text besides the walk, of one line or several."""


@dataclass(frozen=True, slots=True)
class PlainDisplay:
    """Lines for files, pipes and batch systems: no control character but the line break."""

    interval: ClassVar[float] = 10.0
    stream: TextIO

    def begin(self, line: str) -> None:
        """Says nothing: most stages are over before anybody would have read it."""

    def update(self, line: str, share: float | None) -> None:
        """Writes the line."""
        self.write(line)

    def end(self, line: str) -> None:
        """Writes the line."""
        self.write(line)

    def write(self, text: str) -> None:
        """Writes at once, that a log can be followed."""
        self.stream.write(printable(text) + "\n")
        self.stream.flush()


@dataclass(frozen=True, slots=True)
class SilentDisplay:
    """Shows nothing: one process of many speaks for all."""

    interval: ClassVar[float] = math.inf

    def begin(self, line: str) -> None:
        """Nothing."""

    def update(self, line: str, share: float | None) -> None:
        """Nothing."""

    def end(self, line: str) -> None:
        """Nothing."""

    def write(self, text: str) -> None:
        """Nothing."""
