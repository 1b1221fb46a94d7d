"""The words that options of a selection may take."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def check_word(option: str, value: object, known: Collection[str]) -> None:
    """Nothing when ``value`` is a known word; else ValueError with the nearest, or with all."""
    if isinstance(value, str) and value in known:
        return
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"unknown {option} {value!r}; {hint}")
