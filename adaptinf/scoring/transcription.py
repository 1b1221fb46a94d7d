"""Text read from an image, against the text that is there."""

from __future__ import annotations


def edit_distance(one: str, other: str) -> int:
    """Insertions, deletions and exchanges of characters that turn one text into the other."""
    if len(one) < len(other):
        one, other = other, one
    row = list(range(len(other) + 1))
    for number, sign in enumerate(one, 1):
        corner, row[0] = row[0], number
        for place, wanted in enumerate(other, 1):
            corner, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, corner + (sign != wanted)),
            )
    return row[-1]


def similarity(one: str, other: str) -> float:
    """1 - NED: 1 for the same text, 0 for one that has nothing of it; two empty texts are equal."""
    longest = max(len(one), len(other))
    return 1.0 - edit_distance(one, other) / longest if longest else 1.0
