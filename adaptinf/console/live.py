"""How the line of the walk is shown on a terminal: drawn in place by rich."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adaptinf.console.text import printable

_BAR_WIDTH = 12


@dataclass(slots=True)
class LiveDisplay:
    """One line that moves, and above it a line for each stage that is over.

    Drawn only when the stage reports something: a drawing thread could hold rich's lock at the
    moment in which a data loader forks its workers.
    """

    interval: ClassVar[float] = 0.25

    _console: Console
    _live: Live | None = None

    def begin(self, line: str) -> None:
        """Draw the line below what is there."""
        self._live = Live(
            self._drawn(line, None), console=self._console, auto_refresh=False, transient=True
        )
        self._live.start(refresh=True)

    def update(self, line: str, share: float | None) -> None:
        """Draw the line anew."""
        if self._live:
            self._live.update(self._drawn(line, share), refresh=True)

    def end(self, line: str) -> None:
        """Clear the moving line and leave this one in its place."""
        if self._live:
            self._live.stop()
            self._live = None
        self.write(line)

    def write(self, text: str) -> None:
        """Print above the moving line."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def _drawn(self, line: str, share: float | None) -> RenderableType:
        """The line, with a bar before it where the terminal has room for both."""
        text = Text(printable(line), no_wrap=True, overflow="ellipsis")
        text.stylize("bold", 0, max(line.find(" | "), 0))
        text.highlight_regex(r" \| ", "dim")
        if share is None or len(line) + _BAR_WIDTH >= self._console.width:
            return text
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH), text)
        return row
