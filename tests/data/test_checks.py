"""What makes a conversation usable, and the sample that comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptinf.data.checks import check_turns, make_sample
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source

ASK, ANSWER = Turn("user", "q"), Turn("assistant", "a")
SOURCE = Source("toy", "llava", Path("a.json"), Path("."), "MIT")


@pytest.mark.parametrize(
    ("turns", "n_images"),
    [
        ([ASK, ANSWER], 0),
        ([ASK, ANSWER, Turn("user", "<image>"), ANSWER], 1),
        ([Turn("user", "<image><image>\nq"), ANSWER], 2),
    ],
)
def test_usable(turns, n_images):
    check_turns(turns, n_images)


@pytest.mark.parametrize(
    ("turns", "n_images", "reason"),
    [
        ([], 0, "no-turns"),
        ([ANSWER], 0, "first-role-not-user"),
        ([ASK, ASK, ANSWER], 0, "roles-not-alternating"),
        ([ASK, ANSWER, ANSWER], 0, "roles-not-alternating"),
        ([ASK], 0, "last-role-not-assistant"),
        ([ASK, ANSWER, ASK], 0, "last-role-not-assistant"),
        ([ASK, Turn("assistant", " \n")], 0, "empty-answer"),
        ([ASK, Turn("assistant", "<image>\n")], 1, "empty-answer"),
        ([ASK, ANSWER], 1, "image-mark-mismatch"),
        ([Turn("user", "<image> <image>"), ANSWER], 1, "image-mark-mismatch"),
        ([Turn("user", "what does <image> mean?"), ANSWER], 0, "image-mark-mismatch"),
    ],
)
def test_reasons(turns, n_images, reason):
    with pytest.raises(RowProblem) as caught:
        check_turns(turns, n_images)
    assert caught.value.reason == reason


def test_sample_is_recognised_by_content_alone():
    first = make_sample(RawRow(0, "7", ("a.png",), (ASK, ANSWER), "t", "s"), SOURCE, ["d1"])
    moved = make_sample(RawRow(9, "8", ("b.png",), (ASK, ANSWER)), SOURCE, ["d1"])
    other = make_sample(RawRow(0, "7", ("a.png",), (ASK, ANSWER)), SOURCE, ["d2"])
    assert first.uid == moved.uid == f"toy:{first.digest[:20]}"
    assert other.uid != first.uid
    assert (first.source_id, first.dataset, first.licence) == ("7", "toy", "MIT")
    assert (first.task, first.skill, first.images) == ("t", "s", ("a.png",))


def test_half_a_surrogate_pair_is_malformed():
    with pytest.raises(RowProblem) as caught:
        make_sample(RawRow(0, "0", (), (Turn("user", "\ud83d"), ANSWER)), SOURCE, [])
    assert caught.value.reason == "malformed-row"
