"""Boxes in answers, and how far they cover those that are right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]

_NUMBER = r"\s*(-?\d+(?:\.\d+)?|-?\.\d+)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


def box_in(text: str) -> Box | None:
    """The first ``[x1, y1, x2, y2]`` in a text, whatever stands around it."""
    return next(boxes_in(text), None)


def boxes_in(text: str) -> Iterator[Box]:
    """All of them, in reading order."""
    for found in _BOX.finditer(text):
        left, top, right, bottom = map(float, found.groups())
        yield left, top, right, bottom


def overlap(one: Sequence[float], other: Sequence[float], *, edge: float = 0.0) -> float:
    """Intersection over union of two boxes of corners.

    ``edge`` is added to every side: 1 counts whole pixels, as the code of Adapt-infinity does.
    """
    width = min(one[2], other[2]) - max(one[0], other[0]) + edge
    height = min(one[3], other[3]) - max(one[1], other[1]) + edge
    both = max(0.0, width) * max(0.0, height)
    areas = sum(
        max(0.0, box[2] - box[0] + edge) * max(0.0, box[3] - box[1] + edge) for box in (one, other)
    )
    return both / (areas - both) if areas > both else 0.0


def share_of(box: Sequence[float], width: float, height: float, frame: str = "original") -> Box:
    """Corners in pixels as shares of the image, or of the square that it is ``padded`` to."""
    if frame == "original":
        return box[0] / width, box[1] / height, box[2] / width, box[3] / height
    side, left, top = _square(width, height)
    return (
        (box[0] + left) / side,
        (box[1] + top) / side,
        (box[2] + left) / side,
        (box[3] + top) / side,
    )


def pixels_of(box: Sequence[float], width: float, height: float, frame: str = "original") -> Box:
    """Shares as corners in pixels: the other way round."""
    if frame == "original":
        return box[0] * width, box[1] * height, box[2] * width, box[3] * height
    side, left, top = _square(width, height)
    return (
        box[0] * side - left,
        box[1] * side - top,
        box[2] * side - left,
        box[3] * side - top,
    )


def _square(width: float, height: float) -> tuple[float, float, float]:
    side = max(width, height)
    return side, (side - width) // 2, (side - height) // 2
