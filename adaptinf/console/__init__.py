"""What a person sees of a run: one line of the walk at a time; events.jsonl for programs."""

from adaptinf.console.progress import StageProgress
from adaptinf.console.quiet import quiet_libraries
from adaptinf.console.table import table
from adaptinf.console.text import count_text, duration_text, rate_text
from adaptinf.console.walk import Console, make_console

__all__ = [
    "Console",
    "StageProgress",
    "count_text",
    "duration_text",
    "make_console",
    "quiet_libraries",
    "rate_text",
    "table",
]
