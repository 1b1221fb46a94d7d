"""Regions of an image as text, as LLaVA-1.5 writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.rows import RowProblem

FIND = "Please provide the bounding box coordinate of the region this sentence describes: {text}"
READ = "Please provide the text in this region: {box}"


def box_text(corners: Sequence[float], width: float, height: float) -> str:
    """``[x1, y1, x2, y2]`` in pixels as shares of the image's width and height, two decimals.

    Raises ``RowProblem`` ("malformed-row") for a box that is none, or that lies outside.
    """
    numbers = [number for number in corners if isinstance(number, int | float)]
    if len(numbers) != 4 or not (width > 0 and height > 0):
        raise RowProblem(reasons.MALFORMED_ROW, f"a box of {list(corners)!r} in {width} x {height}")
    left, top, right, bottom = numbers
    # A box may reach a pixel over the edge, but not begin behind it or end before it starts.
    if not (-1 <= left < right <= width + 1 and -1 <= top < bottom <= height + 1):
        raise RowProblem(reasons.MALFORMED_ROW, f"a box of {numbers} in {width} x {height}")
    shares = (left / width, top / height, right / width, bottom / height)
    return "[" + ", ".join(f"{min(max(share, 0.0), 1.0):.2f}" for share in shares) + "]"


def sizes(record: dict[str, Any], names: Sequence[str]) -> list[float]:
    """Numbers of a record. Raises ``RowProblem`` ("malformed-row") where one is missing."""
    found = [record.get(name) for name in names]
    numbers = [float(value) for value in found if isinstance(value, int | float)]
    if len(numbers) != len(names):
        raise RowProblem(reasons.MALFORMED_ROW, f"{', '.join(names)} are not numbers")
    return numbers
