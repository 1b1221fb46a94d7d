"""Numbers as people read them."""

from __future__ import annotations

import pytest

from adaptinf.report import wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (99.94, "99.9 s"),
        (100, "1 min 40 s"),
        (3725.2, "62 min 05 s"),
        (6000, "1 h 40 min"),
        (93_600, "26 h 00 min"),
        (36_000_000, "10,000 h 00 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_signs() -> None:
    assert wording.tenths(-0.04) == "0.0"
    assert wording.tenths(-1.26) == "\u22121.3"
    assert wording.tenths(None) == ""
    assert [wording.signed(v) for v in (2.0, 0.01, -2.0)] == ["+2.0", "0.0", "\u22122.0"]
    assert wording.percent(71.249) == "71.2 %"
    assert wording.percent(None) == wording.points(None) == "not defined"
    assert wording.points(-3) == "\u22123.0 points"
    assert wording.count(12345) == "12,345"


def test_shortened() -> None:
    assert wording.shortened(" a\n b ", 3) == "a b"
    assert wording.shortened("abcdef", 4) == "abc\u2026"
    assert wording.shortened("ab cdef", 4) == "ab\u2026"
