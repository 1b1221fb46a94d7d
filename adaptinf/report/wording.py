"""Numbers and texts as people read them."""

from __future__ import annotations

MINUS = "\N{MINUS SIGN}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
ESTIMATED = "\N{ALMOST EQUAL TO}"
"""Before a score that a probe of the questions gave."""
UNDEFINED = "not defined"


def percent(value: float | None) -> str:
    """``71.2 %``."""
    return UNDEFINED if value is None else f"{tenths(value)} %"


def points(value: float | None) -> str:
    """``12.3 points``, with a true minus sign below zero."""
    return UNDEFINED if value is None else f"{tenths(value)} points"


def tenths(value: float | None) -> str:
    """``12.3``; nothing rounds to a minus zero."""
    if value is None:
        return ""
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", MINUS)


def signed(value: float | None) -> str:
    """``+3.2`` or a minus and the number."""
    text = tenths(value)
    return text if text.startswith(MINUS) or text in ("", "0.0") else f"+{text}"


def count(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d} min"


def shortened(text: str, limit: int) -> str:
    """``text`` on one line, cut to ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + ELLIPSIS
