"""Boxes in answers, as shares of the image that they are on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adaptinf.scoring.boxes import Box, boxes_in, pixels_of

FRAMES = ("auto", "shares", "padded", "thousandths", "pixels")
"""What the numbers of a box may mean; ``padded``: shares of the square around the image."""

_BINS = re.compile(r"<bin_(\d+)>\s*<bin_(\d+)>\s*<bin_(\d+)>\s*<bin_(\d+)>")
_LAST_BIN = 223  # ConLoRA: 224 of them


def drawn_boxes(text: str, size: tuple[int, int], frame: str = "auto") -> list[Box]:
    """The boxes that a text names on an image of ``size``: left, top, right, bottom from 0 to 1.

    Left out is what is no box there, such as one of no area. ``auto``: numbers up to 1 are shares,
    those that fit on the image pixels, and others up to 1,000 thousandths.
    """
    width, height = size
    bins = [tuple(int(number) / _LAST_BIN for number in found) for found in _BINS.findall(text)]
    boxes = [_shares(box, width, height, frame) for box in boxes_in(text)] + bins
    return [box for box in map(_ordered, boxes) if box is not None]


def _shares(box: Box, width: int, height: int, frame: str) -> Sequence[float]:
    if frame == "auto":
        frame = "thousandths"
        if max(box) <= 1:
            frame = "shares"
        elif box[2] <= width and box[3] <= height:
            frame = "pixels"
    if frame == "shares":
        return box
    if frame == "thousandths":
        return [number / 1000 for number in box]
    pixels = pixels_of(box, width, height, "padded") if frame == "padded" else box
    return pixels[0] / width, pixels[1] / height, pixels[2] / width, pixels[3] / height


def _ordered(box: Sequence[float]) -> Box | None:
    """Cut to the image; None where nothing is left of it."""
    left, top, right, bottom = (min(max(number, 0.0), 1.0) for number in box)
    return (left, top, right, bottom) if left < right and top < bottom else None
