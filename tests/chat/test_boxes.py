from __future__ import annotations

import pytest

from adaptinf.chat.boxes import drawn_boxes


@pytest.mark.parametrize(
    ("text", "size", "frame", "expected"),
    [
        ("at [0.25, 0.5, 0.75, 1.0].", (200, 100), "auto", [(0.25, 0.5, 0.75, 1.0)]),
        ("[10,20,110,70]", (200, 100), "auto", [(0.05, 0.2, 0.55, 0.7)]),
        ("[250, 500, 750, 1000]", (200, 100), "auto", [(0.25, 0.5, 0.75, 1.0)]),
        ("[10,20,110,70]", (200, 100), "thousandths", [(0.01, 0.02, 0.11, 0.07)]),
        # A square of 200 around 200 x 100: the upper edge of the image is at a quarter.
        ("[0, 0.25, 0.5, 0.5]", (200, 100), "padded", [(0.0, 0.0, 0.5, 0.5)]),
        ("<bin_0> <bin_223><bin_1>", (9, 9), "auto", []),
        ("<bin_0> <bin_0> <bin_223> <bin_223>", (9, 9), "auto", [(0.0, 0.0, 1.0, 1.0)]),
        ("[0,0,1,1] and [0,0,.5,.5]", (9, 9), "auto", [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 0.5)]),
        ("[-0.5, 0, 0.5, 2]", (9, 9), "shares", [(0.0, 0.0, 0.5, 1.0)]),
        ("[0.5, 0.5, 0.5, 0.9]", (9, 9), "auto", []),
        ("[0.9, 0.9, 0.1, 0.1]", (9, 9), "auto", []),
        ("[1, 2, 3] no box", (9, 9), "auto", []),
    ],
)  # fmt: skip
def test_boxes_are_shares_of_the_image(
    text: str, size: tuple[int, int], frame: str, expected: list
) -> None:
    found = drawn_boxes(text, size, frame)
    assert found == [pytest.approx(box) for box in expected]
