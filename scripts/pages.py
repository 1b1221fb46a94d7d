"""Tables for the pages of the documentation, and the places where scripts put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_ENDING = "<!-- end -->"


def markdown(heads: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> str:
    """A table in Markdown: a column for each of ``heads``, the first one of names."""
    lines = [
        "| " + " | ".join(heads.values()) + " |",
        "|---|" + "---:|" * (len(heads) - 1),
        *("| " + " | ".join(str(row[key]) for key in heads) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def put(page: Path, name: str, text: str) -> None:
    """Put ``text`` on a page, between the comment that gives its ``name`` and the next that ends.

    Raises:
        ValueError: the page has no such comment, or several.
    """
    opening = f"<!-- {name} -->\n"
    before, rest = page.read_text().split(opening)
    after = rest.split(_ENDING, 1)[1]
    page.write_text(before + opening + text + _ENDING + after)
