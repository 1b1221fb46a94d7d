"""One error type for everything a user can mend, and the "did you mean" helper."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """A mistake that the user can mend: shown without a traceback, exit status 2.

    Says what happened, where (``file:line``, ``file:row``, a key), the value seen and what to do.
    """

    def __init__(self, what: str, *, where: str = "", seen: object = None, hint: str = "") -> None:
        parts = [f"{where}: {what}" if where else what]
        if seen is not None:
            parts.append(f"(seen: {seen!r})")
        line = " ".join(parts)
        self.lines: tuple[str, ...] = (f"{line}; {hint}" if hint else line,)
        super().__init__(self.lines[0])

    @classmethod
    def group(cls, errors: Sequence[UserError]) -> UserError:
        """One error that carries the lines of many, so that all are told at once."""
        lines = tuple(line for error in errors for line in error.lines)
        grouped = cls("\n".join(lines))
        grouped.lines = lines
        return grouped


def suggestion(name: str, known: Iterable[str], limit: int = 20) -> str:
    """Hint for an unknown name: the nearest known one, or the list of what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(names[:limit])
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return f"known: {shown}{more}"
