"""Two runs, question by question: by hand, and only where both were asked the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adaptinf.errors import UserError
from adaptinf.evaluation.comparison import _holm, compare_runs
from stages.compare import compared
from tests.evaluation.test_gate import hits, write_run


def last(share: float) -> list[np.ndarray]:
    return [hits(0.1), hits(0.1), hits(0.1), hits(share)]


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    one = {"same": last(0.5), "better": last(0.5), "gone": last(0.5), "other": last(0.5)}
    two = {"same": last(0.5), "better": last(0.6), "other": last(0.5)}
    first = write_run(tmp_path / "first", one, {})
    second = write_run(tmp_path / "second", two, {})
    for run, budget in ((first, 5), (second, 7)):
        recipe = f"output_dir: {run}\nselect: {{budget: {budget}}}\ntasks: [{{dataset: llava}}]\n"
        (run / "config.resolved.yaml").write_text(recipe)
    file = second / "steps" / "3-c" / "evaluate" / "other" / "predictions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["prompt"] = "asked otherwise"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return first, second


def test_what_is_the_same_is_compared_and_the_rest_is_told(runs):
    found = compare_runs(*runs)
    same, better = found.differences
    assert (same.benchmark, same.points, same.chance) == ("same", 0, 1)
    assert better.points == pytest.approx(10)
    # 40 of 400 answers are better, none is worse: an interval of about 3 points to either side.
    assert better.interval.low == pytest.approx(7.1, abs=0.5)
    assert better.interval.high == pytest.approx(13, abs=0.5)
    assert better.chance < 0.01
    assert found.mean == pytest.approx(5)
    assert found.interval.low == pytest.approx(3.6, abs=0.4)
    assert found.refused == {
        "gone": "only one of the runs has it",
        "other": "only 399 of 400 questions are the same, prompts included",
    }
    assert found.settings == {"select.budget": (5, 7)}


def test_a_comparison_in_words(runs, tmp_path):
    told = compared(*runs)
    for text in (
        "mean over benchmarks: +5.0 points",
        "not compared: gone: only one of the runs has it",
        "setting select.budget: 5 in the first, 7 in the second",
    ):
        assert text in told
    with pytest.raises(UserError, match=r"no matrix\.json"):
        compared(runs[0], tmp_path)


def test_chances_are_held_against_all_of_them():
    assert _holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert _holm([]) == []
    assert _holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_mean_is_over_accuracies(tmp_path):
    runs = [
        write_run(tmp_path / name, {"likeness": last(0.1), "right": last(share)}, {})
        for name, share in (("one", 0.5), ("two", 0.6))
    ]
    for run in runs:
        told = json.loads((run / "matrix.json").read_text())
        told["benchmarks"][0]["kind"] = "ROUGE-L"
        (run / "matrix.json").write_text(json.dumps(told))
    found = compare_runs(*runs)
    assert [one.benchmark for one in found.differences] == ["likeness", "right"]
    assert (found.mean, found.left_out) == (pytest.approx(10), ["likeness"])
    assert "the mean leaves out, being no accuracies: likeness" in compared(*runs)
