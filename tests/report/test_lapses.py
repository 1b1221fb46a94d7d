"""Answers that were right and are now wrong."""

from __future__ import annotations

import json

import pytest

from adaptinf.errors import UserError
from adaptinf.report.findings import read_findings
from adaptinf.report.lapses import find_lapses


def test_the_benchmarks_that_lost_most_come_first(run) -> None:
    lapses = find_lapses(read_findings(run.folder), limit=5)
    # End-drops: parity 45.5, list 44.5, digit 31, ..; two items of each.
    assert [lapse.benchmark for lapse in lapses] == ["parity", "parity", "list", "list", "digit"]
    first, third = lapses[0], lapses[2]
    # Parity: 83 % right when learned at step 2, 37.5 % at the end; item 75 is the first one lost.
    assert (first.question, first.expected) == (
        "Which parity is shown in picture 75?",
        "right answer 75",
    )
    assert (first.then, first.right_text) == ("2-m3it", "right answer 75")
    assert first.wrong_text == "a blue square at the bottom right"
    assert (first.picture, first.note) == (None, "image not found")
    assert third.picture is not None and third.note == ""


def test_gains_and_half_right_answers_are_no_lapses(own_run) -> None:
    steps = own_run.folder / "steps"
    for file in steps.glob("5-vision_flan/evaluate/*/predictions.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines = [line | {"score": max(line["score"], 0.5)} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert find_lapses(read_findings(own_run.folder), limit=6) == []


def test_benchmarks_without_answers_on_record_are_passed_over(own_run) -> None:
    (own_run.folder / "steps/5-vision_flan/evaluate/parity/predictions.jsonl").unlink()
    lapses = find_lapses(read_findings(own_run.folder), limit=2)
    assert [lapse.benchmark for lapse in lapses] == ["list", "list"]


@pytest.mark.parametrize("line", ["{", "[]", '{"question_id": "1"}'])
def test_a_spoilt_line_is_named(own_run, line: str) -> None:
    file = own_run.folder / "steps/2-m3it/evaluate/parity/predictions.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl:201: not a line of predictions"):
        find_lapses(read_findings(own_run.folder), limit=6)
